// Rows of whole documents; those longer than a row come as parts of a row's length and a rest. A row begins with the piece
// that has waited longest; the room behind it is filled by the longest piece that fits, again and again, and the last room
// by the beginning of the shortest one. Nothing is padded; what is cut off a piece is not seen in this epoch. Inside a row
// each bos is a boundary, across which attention still looks. Private to the room; order.h makes one.
// Best-fit packing: Ding et al. 2024, arXiv:2404.10830, with cutting in place of padding.
#pragma once

#include <vector>

#include "core/data/order.h"

namespace caddie::data {

class Packed final : public Order {
 public:
  Packed(const OrderSettings& settings, const TokenStream& stream);
  std::vector<TokenRange> slice(std::int64_t index) override;
  std::vector<std::int64_t> state() const override;  // the cursor, then the waiting pieces
  void restore(const std::vector<std::int64_t>& state) override;

 private:
  TokenRange next_piece();
  // The first document's start at or after `from`; the stream's size if there is none.
  std::int64_t find_start(std::int64_t from) const;
  void pack_row(std::vector<TokenRange>& pieces);

  const TokenStream& stream_;
  const std::int64_t row_tokens_, rows_;
  const std::uint16_t bos_;
  std::int64_t cursor_;  // where the next piece starts
  std::vector<TokenRange> waiting_;  // in the stream's order
};

}  // namespace caddie::data
