#include "tables.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "caddie/error.h"
#include "levels.h"

namespace rans {
namespace {

using caddie::ErrorKind;

constexpr int kMagnitudes = 129;

// Symmetric tables as magnitudes: weight of symbol m is 2 but for 0 and 128, which have one code each.
int codes_of(int magnitude) { return magnitude == 0 || magnitude == 128 ? 1 : 2; }

std::size_t byte_of(int code) { return static_cast<std::size_t>(code & 255); }

// Frequencies of `entries` symbols, symbol i counting for weight[i] codes. Entry 0 has weight 1 and takes what is left.
void fit_weighted(std::span<const double> counts, std::span<const int> weights, std::span<int> out) {
  double total = 0;
  for (const double count : counts) total += count;
  const int one = static_cast<int>(kProbabilityOne);
  int sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    out[i] = counts[i] > 0 ? std::clamp(static_cast<int>(std::lround(counts[i] * one / (total * weights[i]))), 1, one - 1) : 0;
    sum += out[i] * weights[i];
  }
  // Too much or too little: where it costs least a code. Ratio of the change of cost to the change of the sum.
  while (sum != one) {
    const int step = sum > one ? -1 : 1;
    std::size_t best = counts.size();
    double best_gain = -1e300;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const int next = out[i] + step;
      if (next < 1 || next >= one || out[i] == 0) continue;
      if (weights[i] != 1 && std::abs(one - sum) < weights[i]) continue;
      const double gain = counts[i] * std::log2(static_cast<double>(next) / out[i]) / weights[i];
      if (gain > best_gain) best = i, best_gain = gain;
    }
    if (best == counts.size()) {  // only pairs are left, or nothing was counted: entry 0 evens it out
      const int change = one - sum;
      if (out[0] + change >= 0 && out[0] + change < one) {
        out[0] += change;
        sum = one;
        continue;
      }
      out[1] += step;  // a single symbol must not take everything
      sum += step * weights[1];
      continue;
    }
    out[best] += step;
    sum += step * weights[best];
  }
}

// Rice codes of differences, their parameter following their size.
class Differences {
 public:
  int parameter() const {
    int k = 0;
    while (k < 11 && (mean_ >> k) > 24) ++k;  // mean_ is in 16ths
    return k;
  }
  void seen(std::uint32_t value) { mean_ += static_cast<int>((static_cast<int>(value) * 16 - mean_) / 4); }

 private:
  int mean_ = 16 * 64;
};

constexpr std::uint32_t kEscape = 20;  // ones in a row: the value follows in 13 bits

void put(std::uint32_t value, Differences& model, BitWriter& to) {
  const int k = model.parameter();
  const std::uint32_t high = value >> k;
  if (high >= kEscape) {
    to.put((1u << kEscape) - 1, kEscape);
    to.put(value, 13);
  } else {
    to.put((1u << high) - 1, static_cast<int>(high) + 1);
    to.put(value & ((1u << k) - 1), k);
  }
  model.seen(value);
}
std::uint32_t get(Differences& model, BitReader& from) {
  const int k = model.parameter();
  std::uint32_t high = 0, value;
  while (high < kEscape && from.get(1)) ++high;
  value = high == kEscape ? from.get(13) : high << k | from.get(k);
  model.seen(value);
  return value;
}

// What is stored: the symbols from entry 1 up to the last one, entry 0 follows from the sum.
void write_list(std::span<const int> list, BitWriter& to) {
  int last = static_cast<int>(list.size()) - 1;
  while (last > 0 && list[static_cast<std::size_t>(last)] == 0) --last;
  to.put(static_cast<std::uint32_t>(last), 8);
  Differences model;
  int before = 0;
  for (int i = 1; i <= last; ++i) {
    const int change = list[static_cast<std::size_t>(i)] - before;
    put(static_cast<std::uint32_t>(change < 0 ? -2 * change - 1 : 2 * change), model, to);
    before += change;
  }
}
void read_list(std::span<int> list, std::span<const int> weights, BitReader& from) {
  const std::uint32_t last = from.get(8);
  CADDIE_CHECK(last < list.size(), ErrorKind::data, "a table of frequencies has ", last, " entries");
  Differences model;
  int before = 0, sum = 0;
  for (std::uint32_t i = 1; i <= last; ++i) {
    const std::uint32_t code = get(model, from);
    before += code & 1 ? -static_cast<int>(code / 2) - 1 : static_cast<int>(code / 2);
    CADDIE_CHECK(before >= 0 && before < static_cast<int>(kProbabilityOne), ErrorKind::data, "a frequency is ", before);
    list[i] = before;
    sum += before * weights[i];
  }
  const int left = static_cast<int>(kProbabilityOne) - sum;
  CADDIE_CHECK(left >= 0 && left < static_cast<int>(kProbabilityOne), ErrorKind::data, "frequencies add up to ", sum);
  list[0] = left;
}

struct Symmetric {
  std::array<int, kMagnitudes> list{}, weights{};
  Symmetric() {
    for (int m = 0; m < kMagnitudes; ++m) weights[static_cast<std::size_t>(m)] = codes_of(m);
  }
};

}  // namespace

Frequencies fit(const Counts& counts, bool symmetric) {
  Frequencies result{};
  if (symmetric) {
    Symmetric s;
    std::array<double, kMagnitudes> sums{};
    for (int code = -128; code < 128; ++code) sums[static_cast<std::size_t>(std::abs(code))] += counts[byte_of(code)];
    fit_weighted(sums, s.weights, s.list);
    for (int code = -128; code < 128; ++code)
      result[byte_of(code)] = static_cast<std::uint16_t>(s.list[static_cast<std::size_t>(std::abs(code))]);
    return result;
  }
  std::array<double, 256> values{};
  std::array<int, 256> ones, list{};
  ones.fill(1);
  std::copy(counts.begin(), counts.end(), values.begin());
  fit_weighted(values, ones, list);
  std::copy(list.begin(), list.end(), result.begin());
  return result;
}

double cost_bits(const Counts& counts, const Frequencies& frequencies) {
  double bits = 0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0) bits += counts[i] * (kProbabilityBits - std::log2(static_cast<double>(frequencies[i])));
  return bits;
}

void write(const Frequencies& frequencies, bool symmetric, BitWriter& to) {
  if (symmetric) {
    Symmetric s;
    for (int m = 0; m < kMagnitudes; ++m) s.list[static_cast<std::size_t>(m)] = frequencies[byte_of(-m)];
    write_list(s.list, to);
  } else {
    std::array<int, 256> list;
    std::copy(frequencies.begin(), frequencies.end(), list.begin());
    write_list(list, to);
  }
}

Frequencies read(bool symmetric, BitReader& from) {
  Frequencies result{};
  if (symmetric) {
    Symmetric s;
    read_list(s.list, s.weights, from);
    for (int code = -128; code < 128; ++code)
      result[byte_of(code)] = static_cast<std::uint16_t>(s.list[static_cast<std::size_t>(std::abs(code))]);
  } else {
    std::array<int, 256> ones, list{};
    ones.fill(1);
    read_list(list, ones, from);
    std::copy(list.begin(), list.end(), result.begin());
  }
  return result;
}

void lay_out(const Frequencies& frequencies, std::uint32_t* entries) {
  for (std::uint32_t symbol = 0; symbol < 256; ++symbol)
    for (std::uint32_t i = 0; i < frequencies[symbol]; ++i)
      *entries++ = symbol << 24 | static_cast<std::uint32_t>(frequencies[symbol]) << 12 | i;
}

void BitWriter::put(std::uint32_t value, int count) {
  held_ |= std::uint64_t{value} << count_;
  for (count_ += count; count_ >= 8; count_ -= 8, held_ >>= 8) bytes_.push_back(static_cast<std::byte>(held_));
}
std::vector<std::byte> BitWriter::finish() {
  if (count_ > 0) bytes_.push_back(static_cast<std::byte>(held_));
  held_ = 0, count_ = 0;
  return std::move(bytes_);
}
std::uint32_t BitReader::get(int count) {
  for (; count_ < count; count_ += 8) {
    CADDIE_CHECK(position_ < bytes_.size(), ErrorKind::data, "the payload ends within its tables");
    held_ |= std::uint64_t{std::to_integer<std::uint8_t>(bytes_[position_++])} << count_;
  }
  const auto value = static_cast<std::uint32_t>(held_ & ((std::uint64_t{1} << count) - 1));
  held_ >>= count, count_ -= count;
  return value;
}

}  // namespace rans
