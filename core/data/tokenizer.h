// SentencePiece (libsentencepiece): text to ids and back, and the training of a tokenizer with the reference's
// settings. The only room that knows the library. Reference section 1.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "core/data/tokenizer_model.h"

namespace caddie::data {

class BpeTables;

inline constexpr std::int32_t kBos = 1;  // the reference's ids: pad 0, bos 1, eos 2, unknown 3

class CADDIE_API Tokenizer {
 public:
  // Throws Error(data) naming the path if it is not a SentencePiece model.
  static Tokenizer from_file(const std::filesystem::path& path);
  Tokenizer(std::string_view serialized, const std::string& where);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // Pieces of the text, without bos. Safe to call from several threads, one at a time; those that encode much have a
  // BpeEncoder each (bpe_encoder.h).
  std::vector<std::int32_t> encode(std::string_view text) const;
  // The same by the library alone: the oracle, and the way for models that are not plain BPE.
  std::vector<std::int32_t> encode_by_library(std::string_view text) const;
  // What encoders share; null if the model is not plain BPE.
  const std::shared_ptr<const BpeTables>& tables() const;
  // bos and the pieces: one document.
  std::vector<std::int32_t> encode_document(std::string_view text) const;
  std::string decode(const std::vector<std::int32_t>& ids) const;
  const std::string& piece(std::int64_t id) const;

  std::int64_t vocabulary() const;
  std::int32_t bos() const;
  const TokenizerModel& model() const { return *model_; }
  const std::string& sha256() const { return model_->sha256; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::unique_ptr<TokenizerModel> model_;
};

struct TokenizerTraining {
  std::int64_t vocabulary = 1024;
  double character_coverage = 0.999;  // of the reference; rarer characters are spelled in bytes
  bool byte_fallback = true;
  std::string normalization = "nmt_nfkc";
  // Fewer pieces than asked for (a short text) is an error; off: the tokenizer is smaller.
  bool exact = true;
  // At most this much text is looked at; of more, the documents with the smallest hashes are taken.
  std::int64_t sample_bytes = 256'000'000;
};

// Yields one document a call; false: no more.
using DocumentSource = std::function<bool(std::string& document)>;

// The serialized model: the same bytes for the same documents on any number of threads.
// Throws Error(data) where the text cannot carry the vocabulary, saying how much it can.
CADDIE_API std::string train_tokenizer(const DocumentSource& documents, const TokenizerTraining& settings);

}  // namespace caddie::data
