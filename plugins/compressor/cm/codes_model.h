// The model of a matrix of int8 codes. What a code's magnitude is like is told by its row so far, by its column so far
// (columns of trained matrices differ by octaves), and by the code above (rows of an embedding that were hardly trained are
// nearly copies of each other). A magnitude is coded as its upper part, in unary, and a few low bits where it is large.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <vector>

#include "coder.h"

namespace cm {

// log2 in eighths of an octave, of at least 1.
inline int log2_eighths(std::uint32_t value) {
  static constexpr std::uint8_t kFraction[32] = {0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4,
                                                 5, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8};
  const int exponent = 31 - std::countl_zero(value);
  const std::uint32_t mantissa = exponent >= 5 ? value >> (exponent - 5) : value << (5 - exponent);
  return exponent * 8 + kFraction[mantissa & 31];
}

class CodesModel {
 public:
  // codes: rows x columns, read (Encoder) or filled (Decoder). What was learned lives on from matrix to matrix.
  template <class Coder>
  void matrix(Coder& coder, std::int8_t* codes, std::int64_t rows, std::int64_t columns);

 private:
  static constexpr int kUnit = 4096;  // 1 in the running means
  static constexpr int kSims = 8, kNodes = 64, kLastNode = 19;

  struct Where {
    int level, pair, sim, shift, above, above_upper;  // above: magnitude of the code above
  };
  template <class Coder>
  int magnitude(Coder& coder, int value, const Where& at);

  std::vector<Bit> upper_level_ = std::vector<Bit>(48 * kNodes), upper_pair_ = std::vector<Bit>(1024 * kNodes),
                   upper_above_ = std::vector<Bit>(kSims * 8 * 8);
  std::vector<Bit> low_level_ = std::vector<Bit>(48 * 16), low_upper_ = std::vector<Bit>(8 * 8 * 16 * 8),
                   low_above_ = std::vector<Bit>(kSims * 4 * 4);
  std::vector<Bit> sign_ = std::vector<Bit>(1), sign_above_ = std::vector<Bit>(kSims * 3 * 4);
  std::vector<Mixer> upper_mixers_ = std::vector<Mixer>(kSims * kNodes), low_mixers_ = std::vector<Mixer>(kSims * 8),
                     sign_mixers_ = std::vector<Mixer>(kSims);
  const Tables& tables_ = tables();
};

template <class Coder>
int CodesModel::magnitude(Coder& coder, int value, const Where& at) {
  const auto index = [](int i) { return static_cast<std::size_t>(i); };
  const int most = 128 >> at.shift;
  int upper = 0;
  for (; upper < most; ++upper) {
    const int node = std::min(upper, kLastNode), apart = std::clamp(at.above_upper - upper, -3, 4) + 3;
    const bool more = mixed(coder, (value >> at.shift) > upper, upper_level_[index(at.level * kNodes + node)],
                            upper_pair_[index(at.pair * kNodes + node)],
                            upper_above_[index((at.sim * 8 + apart) * 8 + std::min(upper, 7))],
                            upper_mixers_[index(at.sim * kNodes + node)], tables_);
    if (!more) break;
  }
  bool same = upper == at.above_upper;  // as the code above, so far
  int low = 0;
  for (int i = at.shift - 1; i >= 0; --i) {
    const int place = at.shift - 1 - i, near = std::min(place, 3), above_bit = at.above >> i & 1;
    const bool bit = mixed(coder, value >> i & 1, low_level_[index(at.level * 16 + near * 4 + std::min(low, 3))],
                           low_upper_[index(((at.shift * 8 + place) * 16 + std::min(upper, 15)) * 8 + std::min(low, 7))],
                           low_above_[index((at.sim * 4 + near) * 4 + (same ? 1 + above_bit : 0))],
                           low_mixers_[index(at.sim * 8 + place)], tables_);
    same = same && above_bit == (bit ? 1 : 0);
    low = low * 2 + (bit ? 1 : 0);
  }
  return (upper << at.shift) + low;
}

template <class Coder>
void CodesModel::matrix(Coder& coder, std::int8_t* codes, std::int64_t rows, std::int64_t columns) {
  const std::int64_t count = rows * columns;
  if (count == 0) return;
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; Coder::kEncodes && i < count; ++i) sum += static_cast<std::uint64_t>(std::abs(int{codes[i]}));
  const auto size = static_cast<std::uint64_t>(count);
  const std::uint32_t wanted = static_cast<std::uint32_t>((sum / size) * kUnit + (sum % size) * kUnit / size);
  const int mean = static_cast<int>(std::clamp<std::uint32_t>(plain(coder, wanted, 20), 1, 128 * kUnit));
  const int mean_level = log2_eighths(static_cast<std::uint32_t>(mean));

  struct Column {
    int mean, seen;
    Bit sign;
  };
  std::vector<Column> column(static_cast<std::size_t>(columns), {mean, 0, {}});
  int row_before = mean, apart = 2 * mean;
  const std::vector<std::int8_t> zeros(static_cast<std::size_t>(columns), 0);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int8_t* row = codes + r * columns;
    const std::int8_t* above = r > 0 ? row - columns : zeros.data();
    std::int64_t row_sum = 0;
    for (std::int64_t c = 0; c < columns; ++c) {
      if (c % 4096 == 0 && coder.beyond()) return;  // a short stream for large matrices must not cost time
      Column& own = column[static_cast<std::size_t>(c)];
      // The row before counts as 24 codes.
      const auto row_mean = static_cast<std::uint32_t>((std::int64_t{row_before} * 24 + row_sum * kUnit) / (24 + c));
      const int row_level = log2_eighths(row_mean + 64), column_level = log2_eighths(static_cast<std::uint32_t>(own.mean) + 64);
      const int expected = row_level + column_level - mean_level;
      const auto coarse = [](int level) { return level < 88 ? 0 : std::min(31, (level - 88) / 4 + 1); };
      Where at;
      at.level = std::clamp((expected - 64) / 2, 0, 47);
      at.pair = coarse(column_level) * 32 + coarse(row_level);
      at.sim = std::clamp((log2_eighths(static_cast<std::uint32_t>(apart) + 64) - mean_level + 40) / 8, 0, kSims - 1);
      at.shift = std::clamp(expected / 8 - 14, 0, 7);
      at.above = std::abs(int{above[c]});
      at.above_upper = at.above >> at.shift;
      const int size_of_code = magnitude(coder, std::abs(int{row[c]}), at);
      int code = size_of_code;
      if (size_of_code != 0) {
        const int side = above[c] == 0 ? 0 : above[c] < 0 ? 1 : 2, near = std::min(3, std::abs(size_of_code - at.above));
        const bool negative = mixed(coder, row[c] < 0, sign_[0], own.sign,
                                    sign_above_[static_cast<std::size_t>((at.sim * 3 + side) * 4 + near)],
                                    sign_mixers_[static_cast<std::size_t>(at.sim)], tables_);
        if (negative) code = -code;
      }
      row[c] = static_cast<std::int8_t>(code);
      row_sum += size_of_code;
      apart += (std::min(std::abs(code - above[c]), 255) * kUnit - apart) / 16;
      own.mean += (size_of_code * kUnit - own.mean) / std::min(own.seen + 3, 64);
      ++own.seen;
    }
    row_before = static_cast<int>((std::int64_t{row_before} * 3 + row_sum * kUnit / columns) / 4);
  }
}

}  // namespace cm
