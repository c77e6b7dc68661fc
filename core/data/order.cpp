#include "core/data/order.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "caddie/error.h"
#include "core/data/packing.h"

namespace caddie::data {
namespace {

constexpr int kRounds = 6;

std::uint64_t mix(std::uint64_t x) {  // the finalizer of SplitMix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
std::uint64_t key_of(std::uint64_t seed, std::uint64_t epoch, std::uint64_t part) {
  return mix(mix(mix(seed) + epoch) + part);
}

class Sequential final : public Order {
 public:
  Sequential(const OrderSettings& settings, const TokenStream& stream)
      : tokens_(settings.slice_tokens + 1), ring_(stream.size()) {}
  bool overlapping() const override { return true; }
  // index * tokens_ would overflow after 2^63 tokens only.
  std::vector<TokenRange> slice(std::int64_t index) override { return {{index * tokens_ % ring_, tokens_}}; }

 private:
  std::int64_t tokens_, ring_;
};

// Rows that are sequences of a cut stream: row number -> where it begins.
class Rows : public Order {
 public:
  explicit Rows(const OrderSettings& settings)
      : sequence_(settings.sequence), rows_(settings.slice_tokens / settings.sequence), seed_(settings.seed) {}
  std::vector<TokenRange> slice(std::int64_t index) override {
    std::vector<TokenRange> pieces;
    for (std::int64_t row = index * rows_; row < (index + 1) * rows_; ++row)
      pieces.push_back({start(row), sequence_ + 1});
    return pieces;
  }

 protected:
  virtual std::int64_t start(std::int64_t row) const = 0;
  // How many rows fit into `tokens`, with room to begin elsewhere each epoch where there is more than one.
  std::int64_t rows_in(std::int64_t tokens) const {
    const std::int64_t fit = (tokens - 1) / sequence_;
    return fit > 1 ? fit - 1 : fit;
  }
  // Where the first of them begins.
  std::int64_t phase(std::int64_t tokens, std::int64_t rows, std::uint64_t key) const {
    const std::int64_t room = tokens - 1 - rows * sequence_;
    return static_cast<std::int64_t>(key % static_cast<std::uint64_t>(room + 1));
  }
  const std::int64_t sequence_, rows_;
  const std::uint64_t seed_;
};

class Shuffled final : public Rows {
 public:
  Shuffled(const OrderSettings& settings, const TokenStream& stream)
      : Rows(settings), tokens_(stream.size()), count_(rows_in(stream.size())) {}

 private:
  std::int64_t start(std::int64_t row) const override {
    const auto epoch = static_cast<std::uint64_t>(row / count_);
    const std::int64_t place = Permutation(count_, key_of(seed_, epoch, 0))(row % count_);
    return phase(tokens_, count_, key_of(seed_, epoch, 1)) + place * sequence_;
  }
  std::int64_t tokens_, count_;
};

class Coprime final : public Rows {
 public:
  Coprime(const OrderSettings& settings, const TokenStream& stream) : Rows(settings) {
    std::int64_t first = 0;
    for (const auto& shard : stream.shards()) {
      const auto tokens = static_cast<std::int64_t>(shard->tokens().size());
      if (const std::int64_t rows = tokens < 2 ? 0 : rows_in(tokens); rows > 0)
        shards_.push_back({first, tokens, rows, stride_of(rows)});
      first += tokens;
    }
    // The longest first: those that still have rows in round j are then the first ones.
    std::stable_sort(shards_.begin(), shards_.end(), [](const Walk& a, const Walk& b) { return a.rows > b.rows; });
    for (const Walk& shard : shards_) total_ += shard.rows;
    CADDIE_CHECK(total_ > 0, ErrorKind::data, "no training shard holds a whole sequence of ", sequence_, " tokens");
  }

 private:
  struct Walk {
    std::int64_t first, tokens, rows, stride;
  };
  // Near the golden section of the shard: a stride near a half, or near none, would visit neighbours in turn.
  static std::int64_t stride_of(std::int64_t rows) {
    auto stride = std::max<std::int64_t>(1, std::llround(0.6180339887498949 * static_cast<double>(rows)));
    while (std::gcd(stride, rows) != 1) ++stride;
    return stride;
  }
  std::int64_t start(std::int64_t row) const override {
    const auto epoch = static_cast<std::uint64_t>(row / total_);
    std::int64_t left = row % total_, round = 0;
    // Rounds take one row of every shard that has one left; the shortest shards drop out first.
    std::size_t active = shards_.size();
    while (true) {
      const std::int64_t rounds = shards_[active - 1].rows - round;
      if (left < rounds * static_cast<std::int64_t>(active)) break;
      left -= rounds * static_cast<std::int64_t>(active);
      round += rounds;
      --active;
    }
    round += left / static_cast<std::int64_t>(active);
    const auto which = static_cast<std::size_t>(left % static_cast<std::int64_t>(active));
    const Walk& shard = shards_[which];
    const std::uint64_t key = key_of(seed_, epoch, 2 + which);
    const auto begin = static_cast<std::int64_t>(key % static_cast<std::uint64_t>(shard.rows));
    const std::int64_t place = (begin + round * shard.stride) % shard.rows;
    return shard.first + phase(shard.tokens, shard.rows, mix(key)) + place * sequence_;
  }
  std::vector<Walk> shards_;
  std::int64_t total_ = 0;
};

}  // namespace

OrderKind parse_order(const std::string& name) {
  static const std::map<std::string, OrderKind> kinds = {{"sequential", OrderKind::sequential},
                                                         {"shuffled", OrderKind::shuffled},
                                                         {"coprime", OrderKind::coprime},
                                                         {"packed", OrderKind::packed}};
  const auto found = kinds.find(name);
  CADDIE_CHECK(found != kinds.end(), ErrorKind::usage, "data.order is '", name,
               "', accepted: sequential, shuffled, coprime, packed");
  return found->second;
}

Order::~Order() = default;
void Order::restore(const std::vector<std::int64_t>& state) { CADDIE_ASSERT(state.empty()); }

std::unique_ptr<Order> make_order(const OrderSettings& settings, const TokenStream& stream) {
  if (settings.kind == OrderKind::sequential) return std::make_unique<Sequential>(settings, stream);
  CADDIE_CHECK(stream.size() > settings.sequence, ErrorKind::data, "the training shards hold ", stream.size(),
               " tokens, expected at least ", settings.sequence + 1, ": a sequence of ", settings.sequence,
               " and its last target");
  switch (settings.kind) {
    case OrderKind::shuffled: return std::make_unique<Shuffled>(settings, stream);
    case OrderKind::coprime: return std::make_unique<Coprime>(settings, stream);
    default: return std::make_unique<Packed>(settings, stream);
  }
}

Permutation::Permutation(std::int64_t size, std::uint64_t key) : size_(size), key_(key), half_bits_(1) {
  CADDIE_ASSERT(size > 0 && size < (std::int64_t{1} << 60));
  while ((std::int64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
}

std::int64_t Permutation::operator()(std::int64_t index) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  auto value = static_cast<std::uint64_t>(index);
  // A Feistel network permutes the power of four around `size`; what falls outside goes round again until it is inside.
  do {
    std::uint64_t left = value >> half_bits_, right = value & mask;
    for (int round = 0; round < kRounds; ++round) {
      const std::uint64_t next = left ^ (mix(key_ + right * 0x100000001b3u + static_cast<std::uint64_t>(round)) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<std::uint64_t>(size_));
  return static_cast<std::int64_t>(value);
}

}  // namespace caddie::data
