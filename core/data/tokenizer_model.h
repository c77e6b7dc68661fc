// A SentencePiece .model file, read by hand: its pieces, and how it normalizes text. What scoring needs, without the
// library; encoding is tokenizer.h's.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie::data {

enum class PieceType : std::uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
enum class TokenizerKind : std::uint8_t { unigram = 1, bpe = 2, word = 3, character = 4 };

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

struct CADDIE_API TokenizerModel {
  std::vector<Piece> pieces;  // by id
  TokenizerKind kind = TokenizerKind::unigram;
  bool byte_fallback = false, split_digits = false;
  double character_coverage = 0;
  std::string normalization;  // "nmt_nfkc", "identity", ...
  std::string charsmap;       // precompiled replacement rules; empty: none
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  std::string sha256;  // of the serialized model

  CADDIE_API std::int64_t count(PieceType type) const;
  std::int64_t unknown_id() const;  // -1: none
};

// Throws Error(data) naming `where` if `serialized` is not a SentencePiece model.
CADDIE_API TokenizerModel parse_tokenizer_model(std::string_view serialized, const std::string& where);
CADDIE_API TokenizerModel read_tokenizer_model(const std::filesystem::path& path);

// The model's text normalization (replacement rules, white space), without tokens.
class CADDIE_API Normalizer {
 public:
  explicit Normalizer(const TokenizerModel& model);  // keeps a copy of the rules
  // A document as its pieces will spell it and the byte table counts it: U+2581 is a space, one space at the very start
  // (a dummy prefix) is left out unless `keep_first_space`. Bytes that are not UTF-8 become U+FFFD.
  std::string normalize(std::string_view text, bool keep_first_space = false) const;

 private:
  void read_rules(const TokenizerModel& model);
  void find_plain();
  // Longest rule at the start of `text`: the bytes it consumes (0: no rule) and its replacement.
  std::size_t match(std::string_view text, std::string_view& replacement) const;
  // What the start of `text` becomes; returns the bytes consumed.
  std::size_t step(std::string_view text, std::string_view& part) const;
  std::vector<std::string> user_defined_;  // pass through as they are
  // Bytes that stay as they are before another such byte: no rule begins with two of them.
  std::array<bool, 256> plain_{};
  std::vector<std::uint32_t> trie_;
  std::string replacements_;
  bool prefix_, remove_extra_;
};

// The length of the UTF-8 sequence at the start of `text`, or 0 if it is not valid.
CADDIE_API std::size_t utf8_length(std::string_view text);

}  // namespace caddie::data
