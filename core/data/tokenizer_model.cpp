#include "core/data/tokenizer_model.h"

#include <cstring>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"

namespace caddie::data {
namespace {

// Field numbers of sentencepiece_model.proto that matter here.
constexpr std::uint64_t kModelPiece = 1, kModelTrainer = 2, kModelNormalizer = 3;
constexpr std::uint64_t kPieceText = 1, kPieceScore = 2, kPieceType = 3;
constexpr std::uint64_t kTrainerKind = 3, kTrainerCoverage = 10, kTrainerSplitDigits = 25, kTrainerByteFallback = 35;
constexpr std::uint64_t kRuleName = 1, kRuleCharsmap = 2, kRuleDummyPrefix = 3, kRuleRemoveExtra = 4, kRuleEscape = 5;

// Reads protobuf fields off a buffer. Every length is checked; `where` is for messages.
class Wire {
 public:
  Wire(std::string_view data, const std::string& where) : data_(data), where_(where) {}
  bool next() {
    if (data_.empty()) return false;
    const std::uint64_t key = varint();
    field = key >> 3;
    switch (key & 7) {
      case 0: number = varint(); break;
      case 1: bytes = take(8); break;
      case 2: bytes = take(varint()); break;
      case 5: bytes = take(4); break;
      default: fail();
    }
    if (field == 0) fail();
    return true;
  }
  float real() const {
    if (bytes.size() != 4) fail();
    float value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  [[noreturn]] void fail() const {
    throw Error(ErrorKind::data, concat(where_, " is not a SentencePiece model (its structure is broken)"),
                "A tokenizer is a .model file as SentencePiece writes it; caddie tokenizer train makes one.");
  }
  std::uint64_t field = 0, number = 0;
  std::string_view bytes;

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (data_.empty()) fail();
      const auto byte = static_cast<unsigned char>(data_.front());
      data_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    fail();
  }
  std::string_view take(std::uint64_t size) {
    if (size > data_.size()) fail();
    const std::string_view part = data_.substr(0, size);
    data_.remove_prefix(size);
    return part;
  }
  std::string_view data_;
  const std::string& where_;
};

Piece parse_piece(std::string_view data, const std::string& where) {
  Piece piece;
  Wire wire(data, where);
  while (wire.next()) {
    if (wire.field == kPieceText) piece.text = wire.bytes;
    if (wire.field == kPieceScore) piece.score = wire.real();
    if (wire.field == kPieceType) {
      if (wire.number < 1 || wire.number > 6) wire.fail();
      piece.type = static_cast<PieceType>(wire.number);
    }
  }
  if (piece.text.empty()) wire.fail();
  return piece;
}

}  // namespace

std::int64_t TokenizerModel::count(PieceType type) const {
  std::int64_t n = 0;
  for (const Piece& piece : pieces) n += piece.type == type ? 1 : 0;
  return n;
}

std::int64_t TokenizerModel::unknown_id() const {
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (pieces[i].type == PieceType::unknown) return static_cast<std::int64_t>(i);
  return -1;
}

TokenizerModel parse_tokenizer_model(std::string_view serialized, const std::string& where) {
  TokenizerModel model;
  model.sha256 = caddie::sha256(serialized);
  Wire wire(serialized, where);
  while (wire.next()) {
    if (wire.field == kModelPiece) model.pieces.push_back(parse_piece(wire.bytes, where));
    if (wire.field == kModelTrainer) {
      Wire trainer(wire.bytes, where);
      while (trainer.next()) {
        if (trainer.field == kTrainerKind) {
          if (trainer.number < 1 || trainer.number > 4) trainer.fail();
          model.kind = static_cast<TokenizerKind>(trainer.number);
        }
        if (trainer.field == kTrainerCoverage) model.character_coverage = static_cast<double>(trainer.real());
        if (trainer.field == kTrainerSplitDigits) model.split_digits = trainer.number != 0;
        if (trainer.field == kTrainerByteFallback) model.byte_fallback = trainer.number != 0;
      }
    }
    if (wire.field == kModelNormalizer) {
      Wire rule(wire.bytes, where);
      while (rule.next()) {
        if (rule.field == kRuleName) model.normalization = rule.bytes;
        if (rule.field == kRuleCharsmap) model.charsmap = rule.bytes;
        if (rule.field == kRuleDummyPrefix) model.add_dummy_prefix = rule.number != 0;
        if (rule.field == kRuleRemoveExtra) model.remove_extra_whitespaces = rule.number != 0;
        if (rule.field == kRuleEscape) model.escape_whitespaces = rule.number != 0;
      }
    }
  }
  if (model.pieces.empty() || model.unknown_id() < 0)
    throw Error(ErrorKind::data,
                concat(where, " is not a SentencePiece model (", model.pieces.size(), " pieces, ",
                       model.unknown_id() < 0 ? "no unknown piece" : "one unknown piece", ")"),
                "A tokenizer is a .model file as SentencePiece writes it; caddie tokenizer train makes one.");
  if (model.pieces.size() > 65536)
    throw Error(ErrorKind::data, concat(where, " has ", model.pieces.size(), " pieces; a shard holds ids below 65536"));
  return model;
}

TokenizerModel read_tokenizer_model(const std::filesystem::path& path) {
  return parse_tokenizer_model(read_text(path), path.string());
}

}  // namespace caddie::data
