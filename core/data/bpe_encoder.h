// BPE as SentencePiece does it, word by word with a memory of words: no piece spans a space, so that merges in one word
// never depend on its neighbours. Several times as fast on natural text; a test holds it to the library's ids.
// One object a thread. Private to the room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "caddie/export.h"
#include "core/data/tokenizer_model.h"

namespace caddie::data {

// What encoders of one model share; made once, read by many.
class CADDIE_API BpeTables {
 public:
  // Nothing if the model is of another kind or has pieces that this encoder does not know how to treat.
  static std::shared_ptr<const BpeTables> of(const TokenizerModel& model);
  const Normalizer& normalizer() const { return normalizer_; }

 private:
  friend class BpeEncoder;
  explicit BpeTables(const TokenizerModel& model);
  Normalizer normalizer_;
  std::vector<std::string> texts_;
  std::vector<float> scores_;
  std::unordered_map<std::string_view, std::int32_t> ids_;  // of normal pieces; keys lie in texts_
  std::int32_t unknown_ = 0;
  std::vector<std::int32_t> byte_ids_;  // 256, or empty without byte fallback
};

class CADDIE_API BpeEncoder {
 public:
  explicit BpeEncoder(std::shared_ptr<const BpeTables> tables) : tables_(std::move(tables)) {}
  // Appends the ids of a text.
  void encode(std::string_view text, std::vector<std::int32_t>& ids);
  // The same of a text that BpeTables' normalizer normalized, its first space kept.
  void encode_normalized(std::string_view normalized, std::vector<std::int32_t>& ids);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Range {
    std::uint32_t start, count;
  };
  void encode_word(std::string_view word, std::vector<std::int32_t>& ids);

  std::shared_ptr<const BpeTables> tables_;
  std::unordered_map<std::string, Range, Hash, std::equal_to<>> known_;
  std::vector<std::int32_t> known_ids_;
  std::string marked_;  // scratch: a word with its space as U+2581
};

}  // namespace caddie::data
