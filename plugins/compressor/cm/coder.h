// Binary arithmetic coding with adaptive, mixed predictions, after PAQ's small relatives (Mahoney 2005, "Adaptive weighing
// of context models"). Integers only, so that every machine decodes the same. Encoder and Decoder have one interface, so
// that a model is written once and cannot disagree with itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace cm {

// Probabilities have 16 bits. `stretch` is ln(p / (1 - p)) in 256ths, for the 12 upper bits of p; `squash` its inverse for
// -2047 to 2047.
struct Tables {
  Tables();
  std::array<std::int16_t, 4096> stretch;
  std::array<std::uint16_t, 4096> squash;  // of index - 2048
  std::array<std::uint16_t, 512> rate;     // 65536 / (n + 1.6)
};
const Tables& tables();

// The share of ones seen in one context: first by counting, later with a fixed rate.
struct Bit {
  static constexpr std::uint16_t kLimit = 400;
  std::uint16_t p = 32768, n = 0;

  void update(bool bit, const Tables& t) {
    const int target = bit ? 65535 : 0;
    p = static_cast<std::uint16_t>(p + (((target - p) * static_cast<int>(t.rate[n])) >> 16));
    if (n < kLimit) ++n;
  }
};

// Three predictions, weighed by how well they did.
struct Mixer {
  std::array<int, 3> weight{24000, 24000, 24000};  // 65536 is 1
};

class Encoder {
 public:
  static constexpr bool kEncodes = true;
  bool beyond() const { return false; }
  bool code(bool bit, std::uint32_t p) {
    const std::uint32_t middle = low_ + static_cast<std::uint32_t>((std::uint64_t{high_ - low_} * p) >> 16);
    if (bit)
      high_ = middle;
    else
      low_ = middle + 1;
    while (((low_ ^ high_) & 0xff000000u) == 0) {
      bytes_.push_back(static_cast<std::byte>(high_ >> 24));
      low_ <<= 8;
      high_ = (high_ << 8) | 255;
    }
    return bit;
  }
  std::vector<std::byte> finish() {
    for (int shift = 24; shift >= 0; shift -= 8) bytes_.push_back(static_cast<std::byte>(low_ >> shift));
    return std::move(bytes_);
  }

 private:
  std::uint32_t low_ = 0, high_ = 0xffffffffu;
  std::vector<std::byte> bytes_;
};

// Bytes beyond the end are zeros; whole() tells afterwards whether exactly all bytes were read.
class Decoder {
 public:
  static constexpr bool kEncodes = false;
  explicit Decoder(std::span<const std::byte> bytes) : bytes_(bytes) {
    for (int i = 0; i < 4; ++i) next();
  }
  bool code(bool, std::uint32_t p) {
    const std::uint32_t middle = low_ + static_cast<std::uint32_t>((std::uint64_t{high_ - low_} * p) >> 16);
    const bool bit = value_ <= middle;
    if (bit)
      high_ = middle;
    else
      low_ = middle + 1;
    while (((low_ ^ high_) & 0xff000000u) == 0) {
      low_ <<= 8;
      high_ = (high_ << 8) | 255;
      next();
    }
    return bit;
  }
  bool whole() const { return read_ == bytes_.size(); }
  bool beyond() const { return read_ > bytes_.size(); }  // more was read than there is: the rest would be noise

 private:
  void next() {
    value_ = (value_ << 8) | (read_ < bytes_.size() ? std::to_integer<std::uint32_t>(bytes_[read_]) : 0u);
    ++read_;
  }
  std::span<const std::byte> bytes_;
  std::size_t read_ = 0;
  std::uint32_t low_ = 0, high_ = 0xffffffffu, value_ = 0;
};

// Codes a bit with the mixed prediction of three contexts, and lets all learn from it.
template <class Coder>
bool mixed(Coder& coder, bool bit, Bit& a, Bit& b, Bit& c, Mixer& mixer, const Tables& t) {
  const std::array<int, 3> s{t.stretch[a.p >> 4], t.stretch[b.p >> 4], t.stretch[c.p >> 4]};
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < 3; ++i) sum += std::int64_t{mixer.weight[i]} * s[i];
  int x = static_cast<int>(sum >> 16);
  x = x < -2047 ? -2047 : x > 2047 ? 2047 : x;
  int p = t.squash[static_cast<std::size_t>(x + 2048)];
  p = p < 32 ? 32 : p > 65503 ? 65503 : p;
  bit = coder.code(bit, static_cast<std::uint32_t>(p));
  const int error = (bit ? 65535 : 0) - p;
  for (std::size_t i = 0; i < 3; ++i) mixer.weight[i] += (s[i] * error) >> 16;
  a.update(bit, t);
  b.update(bit, t);
  c.update(bit, t);
  return bit;
}

// `count` bits as they are, the highest first.
template <class Coder>
std::uint32_t plain(Coder& coder, std::uint32_t value, int count) {
  std::uint32_t result = 0;
  for (int i = count - 1; i >= 0; --i) result = result * 2 + (coder.code(value >> i & 1, 32768) ? 1u : 0u);
  return result;
}

}  // namespace cm
