// How large a code is expected to be, from the codes decoded before it: of its row so far, of its column so far, and the
// mean of its piece; and whether the row is so near to the one above that differences are coded (rows of an embedding that
// were hardly trained are nearly alike). Whole numbers and exact conversions only, so that every machine finds the same levels. Included by
// files that are compiled for different instruction sets: everything here has internal linkage.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace rans {
namespace {

constexpr int kLanes = 64;   // coders that take turns: code i of a row belongs to coder i mod 64
constexpr int kLevels = 24;  // expected magnitudes in half octaves
constexpr int kProbabilityBits = 12;
constexpr std::uint32_t kProbabilityOne = 1u << kProbabilityBits;
constexpr std::uint32_t kStateLow = 1u << 16;  // states are in [2^16, 2^32)

constexpr int kUnit = 32;         // magnitude 1 in means
constexpr int kRowPrior = 48;     // codes that the expectation of a row counts for
constexpr int kColumnPrior = 16;  // rows that the piece's mean counts for
constexpr int kMaxSeen = 256;     // rows after which columns forget half
constexpr int kLowest = 16;       // level 0 begins here, in eighths of an octave of 1/32

// Rows narrower than the lanes are taken as one sequence; the memory for what is known of columns has a limit.
inline std::int64_t row_width(std::int64_t columns) { return std::clamp<std::int64_t>(columns, kLanes, 1 << 16); }

// log2 in eighths of an octave, linear within an octave; 0 < value < 2^24, which a float holds exactly.
inline int log2_eighths(std::uint32_t value) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(value))) >> 20) - 127 * 8;
}

struct Expectation {
  int up, down;
  bool differences;  // to the row above
};
struct BlockSums {
  int magnitudes, apart;  // apart: of the differences to the row above
};

class Levels {
 public:
  // mean: of the piece's magnitudes, in units of 1/32.
  Levels(std::int64_t width, int mean)
      : mean_(std::max(mean, 1)),
        mean_log_(log2_eighths(static_cast<std::uint32_t>(mean_))),
        sums_(static_cast<std::size_t>((width + kLanes - 1) / kLanes * kLanes)),
        logs_(sums_.size(), static_cast<std::uint8_t>(mean_log_)),
        before_(mean_),
        apart_before_(2 * mean_) {}

  void begin_row() { row_sum_ = row_apart_ = row_count_ = 0; }
  // For the next block of a row: the shift from a column's log to the level, first `up`, then `down`, both saturating. With
  // differences the columns' logs do not count: they are taken as 0.
  Expectation expect() const {
    const int sum = std::max((mean_ + before_) / 2 * kRowPrior + row_sum_ * kUnit, 1);
    const int apart = std::max(apart_before_ * kRowPrior + row_apart_ * kUnit, 1);
    const int count_log = log2_eighths(static_cast<std::uint32_t>(kRowPrior + row_count_));
    const bool differences = std::int64_t{apart} * 4 < std::int64_t{sum} * 3;
    const int k = log2_eighths(static_cast<std::uint32_t>(differences ? apart : sum)) - count_log - kLowest -
                  (differences ? 0 : mean_log_);
    return {std::max(k, 0), std::max(-k, 0), differences};
  }
  const std::uint8_t* logs() const { return logs_.data(); }
  std::uint16_t* sums() { return sums_.data(); }
  static int level(int log, int up, int down) {
    return std::min(std::max(std::min(log + up, 255) - down, 0) >> 2, kLevels - 1);
  }
  // After a block of `count` codes; the columns' sums have been updated.
  void end_block(const BlockSums& sums, int count) {
    row_sum_ += sums.magnitudes;
    row_apart_ += sums.apart;
    row_count_ += count;
    if (row_count_ >= 2048) row_sum_ /= 2, row_apart_ /= 2, row_count_ /= 2;  // sums stay below 2^24
  }
  void end_row() {
    before_ = row_sum_ * kUnit / std::max(row_count_, 1);
    apart_before_ = row_apart_ * kUnit / std::max(row_count_, 1);
    ++seen_;
    ++rows_;
    if ((rows_ & (rows_ - 1)) != 0 && rows_ % 32 != 0) return;
    const int count_log = log2_eighths(static_cast<std::uint32_t>(kColumnPrior + seen_));
    const int prior = mean_ * kColumnPrior;
    for (std::size_t c = 0; c < sums_.size(); ++c) {
      const int log = log2_eighths(static_cast<std::uint32_t>(prior + sums_[c] * kUnit)) - count_log;
      logs_[c] = static_cast<std::uint8_t>(std::max(log, 0));
    }
    if (seen_ < kMaxSeen) return;
    for (auto& sum : sums_) sum = static_cast<std::uint16_t>(sum / 2);
    seen_ /= 2;
  }

 private:
  int mean_, mean_log_;
  std::vector<std::uint16_t> sums_;  // of magnitudes, a column
  std::vector<std::uint8_t> logs_;   // of columns' means, in eighths of an octave of 1/32
  int before_, apart_before_;        // means of the row before, in 1/32
  int row_sum_ = 0, row_apart_ = 0, row_count_ = 0, seen_ = 0;
  std::int64_t rows_ = 0;
};

}  // namespace
}  // namespace rans
