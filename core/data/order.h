// In which order training sees the tokens of its shards. An order says of every slice of a step which pieces of the
// stream make it; the slices' number is the same whatever the number of ranks, so that the data of a step is too.
//
//   sequential  the shards are one ring; a slice takes the next tokens of it (the reference)
//   shuffled    the stream is cut into sequences, which come in a permutation of their own each epoch
//   coprime     each shard is walked in strides that are coprime to its number of sequences; neighbours in a slice come
//               from different shards
//   packed      rows begin with a document, or go on with a long one; more documents fill them, best fit first
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/data/shards.h"

namespace caddie::data {

enum class OrderKind { sequential, shuffled, coprime, packed };
// "shuffled" -> shuffled. Throws Error(usage) for an unknown name.
CADDIE_API OrderKind parse_order(const std::string& name);

struct OrderSettings {
  OrderKind kind = OrderKind::sequential;
  std::uint64_t seed = 0;         // of shuffled and coprime
  std::int64_t sequence = 0;      // inputs of a row
  std::int64_t slice_tokens = 0;  // inputs of a slice, a multiple of `sequence`
  std::int32_t bos = 1;           // what documents begin with
};

struct TokenRange {
  std::int64_t first, count;  // tokens of the stream, which is a ring
};

class CADDIE_API Order {
 public:
  virtual ~Order();
  // Whether a row's targets end with the next row's first input: a slice is slice_tokens + 1 tokens. Otherwise each row
  // is sequence + 1 tokens of its own.
  virtual bool overlapping() const { return false; }
  // The pieces of slice `index`, in order. Packing counts on every index once, in order; the others take any.
  virtual std::vector<TokenRange> slice(std::int64_t index) = 0;
  // What slice() needs besides the index to go on; empty where it needs nothing.
  virtual std::vector<std::int64_t> state() const { return {}; }
  virtual void restore(const std::vector<std::int64_t>& state);
};

// Throws Error(data) if the stream is too short for a row, or holds no document where the order needs one. `stream` must
// outlive the order.
CADDIE_API std::unique_ptr<Order> make_order(const OrderSettings& settings, const TokenStream& stream);

// A permutation of 0 .. size - 1 that is computed, not stored. One key, one permutation.
class CADDIE_API Permutation {
 public:
  Permutation(std::int64_t size, std::uint64_t key);
  std::int64_t operator()(std::int64_t index) const;

 private:
  std::int64_t size_;
  std::uint64_t key_;
  int half_bits_;
};

}  // namespace caddie::data
