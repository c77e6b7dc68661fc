// Rows of whole documents: a row begins with the document that has waited longest; the room behind it is filled by the
// longest document that fits, again and again, and the last piece of room by the beginning of the shortest one. Nothing
// is padded; what is cut off a document is not seen in this epoch. Every row begins with bos, and inside a row each bos
// is a boundary. Private to the room; order.h makes one.
// Best-fit packing: Ding et al. 2024, arXiv:2404.10830, with cutting in place of padding.
#pragma once

#include <vector>

#include "core/data/order.h"

namespace caddie::data {

class Packed final : public Order {
 public:
  Packed(const OrderSettings& settings, const TokenStream& stream);
  std::vector<TokenRange> slice(std::int64_t index) override;
  std::vector<std::int64_t> state() const override;  // the cursor, then the waiting documents
  void restore(const std::vector<std::int64_t>& state) override;

 private:
  TokenRange next_document();
  // The first document's start at or after `from`; the stream's size if there is none.
  std::int64_t find_start(std::int64_t from) const;
  void pack_row(std::vector<TokenRange>& pieces);

  const TokenStream& stream_;
  const std::int64_t row_tokens_, rows_;
  const std::uint16_t bos_;
  std::int64_t cursor_;  // the start of the document to read next
  std::vector<TokenRange> waiting_;  // in the stream's order
};

}  // namespace caddie::data
