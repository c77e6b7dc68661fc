#include "core/data/byte_table.h"

#include <ATen/ops/from_blob.h>

#include "caddie/error.h"
#include "core/data/tokenizer_model.h"

namespace caddie::data {
namespace {
constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581

template <class T>
at::Tensor lookup(const std::vector<T>& table, at::ScalarType type, const at::Tensor& ids) {
  // The tables live as long as this call; index_select copies.
  const at::Tensor values =
      at::from_blob(const_cast<T*>(table.data()), {static_cast<std::int64_t>(table.size())}, at::TensorOptions(type));
  return values.to(ids.device(), at::kLong).index_select(0, ids.reshape({-1})).view(ids.sizes());
}
}  // namespace

ByteTable ByteTable::from_file(const std::filesystem::path& path) { return ByteTable(read_tokenizer_model(path)); }

ByteTable::ByteTable(const TokenizerModel& model) : unknown_(model.unknown_id()), tokenizer_sha256_(model.sha256) {
  for (const Piece& piece : model.pieces) {
    std::string_view text = piece.text;
    switch (piece.type) {
      case PieceType::unknown:
      case PieceType::control:
      case PieceType::unused:
        bytes_.push_back(0);
        leading_space_.push_back(0);
        boundary_.push_back(1);
        break;
      case PieceType::byte:
        bytes_.push_back(1);
        leading_space_.push_back(0);
        boundary_.push_back(0);
        break;
      case PieceType::normal:
      case PieceType::user_defined: {
        const bool marked = text.starts_with(kMark);
        if (marked) text.remove_prefix(kMark.size());
        CADDIE_CHECK(text.size() < 32768, ErrorKind::data, "piece ", bytes_.size(), " of the tokenizer is ",
                     text.size(), " bytes long");
        bytes_.push_back(static_cast<std::int16_t>(text.size()));
        leading_space_.push_back(marked ? 1 : 0);
        boundary_.push_back(0);
        break;
      }
    }
  }
}

std::int64_t ByteTable::sum(std::span<const std::uint16_t> tokens) const {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= vocabulary())
      throw Error(ErrorKind::data,
                  concat("token ", i, " has id ", tokens[i], ", but the tokenizer has ", vocabulary(), " pieces"),
                  "The shards were made with another tokenizer: bits per byte cannot be told. Check data.tokenizer.");
    if (i > 0) total += target_bytes(tokens[i - 1], tokens[i]);
  }
  return total;
}

at::Tensor ByteTable::target_bytes(const at::Tensor& previous, const at::Tensor& targets) const {
  CADDIE_ASSERT(previous.sizes() == targets.sizes());
  const at::Tensor space = lookup(leading_space_, at::kByte, targets);
  const at::Tensor inside = lookup(boundary_, at::kByte, previous).eq(0);
  return lookup(bytes_, at::kShort, targets).add(space.mul(inside));
}

std::int64_t ByteTable::sum(const at::Tensor& previous, const at::Tensor& targets) const {
  return target_bytes(previous, targets).sum().item<std::int64_t>();
}

}  // namespace caddie::data
