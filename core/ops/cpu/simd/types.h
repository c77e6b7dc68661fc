// Numbers as the kernels see them: bfloat16 storage, rounding, and exp and tanh that a compiler can vectorise (no calls,
// no branches). Included once by each isa_*.cpp, which compiles everything here for one instruction set: no header of the
// standard library that defines inline functions may be included, or code for a newer processor could be linked into
// programs on an older one.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef CADDIE_ISA
#error "types.h is for the isa_*.cpp files, which define CADDIE_ISA"
#endif

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

using Index = std::ptrdiff_t;

struct Bf16 {
  std::uint16_t bits;
};

inline float widen(float x) { return x; }
inline float widen(Bf16 x) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16); }

// To nearest, ties to even; a NaN stays one.
inline void narrow(float x, float& out) { out = x; }
inline void narrow(float x, Bf16& out) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  out.bits = static_cast<std::uint16_t>(x == x ? rounded : 0x7fc0U);
}
// The value as it would be read back from storage of type T.
template <class T>
inline float rounded(float x) {
  T stored;
  narrow(x, stored);
  return widen(stored);
}

inline float larger(float a, float b) { return a > b ? a : b; }

// x = n ln 2 + r, |r| <= ln 2 / 2; returns e^r - 1 and 2^n. Polynomial of Cephes' expf.
struct SplitExp {
  float minus_one, power;
};
inline SplitExp split_exp(float x) {
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const float n = (x * 1.44269504088896341F + kMagic) - kMagic;
  float r = x - n * 0.693359375F;
  r = r - n * -2.12194440e-4F;
  float y = 1.9875691500e-4F;
  y = y * r + 1.3981999507e-3F;
  y = y * r + 8.3334519073e-3F;
  y = y * r + 4.1665795894e-2F;
  y = y * r + 1.6666665459e-1F;
  y = y * r + 5.0000001201e-1F;
  y = y * (r * r) + r;
  const auto exponent = static_cast<std::int32_t>(n) + 127;
  return {y, __builtin_bit_cast(float, exponent << 23)};
}

// e^x within 2 units in the last place for x <= 88; below -87 it stays at e^-87.
inline float exp_of(float x) {
  x = x < -87.0F ? -87.0F : x;
  x = x > 88.0F ? 88.0F : x;
  const SplitExp parts = split_exp(x);
  return parts.power * parts.minus_one + parts.power;
}

// tanh x through e^2x - 1, so that small x keep their relative precision.
inline float tanh_of(float x) {
  float magnitude = x < 0 ? -x : x;
  magnitude = magnitude > 20.0F ? 20.0F : magnitude;
  const SplitExp parts = split_exp(2 * magnitude);
  const float minus_one = parts.power * parts.minus_one + (parts.power - 1.0F);
  const float result = minus_one / (minus_one + 2.0F);
  return x < 0 ? -result : result;
}

constexpr Index round_up(Index n, Index multiple) { return (n + multiple - 1) / multiple * multiple; }
inline Index smaller(Index a, Index b) { return a < b ? a : b; }

// Carves aligned pieces out of one block of memory; with a null block it only counts.
class Carver {
 public:
  explicit Carver(void* block) : block_(static_cast<char*>(block)) {}
  template <class T>
  T* take(Index count) {
    T* piece = block_ == nullptr ? nullptr : reinterpret_cast<T*>(block_ + used_);
    used_ += round_up(count * static_cast<Index>(sizeof(T)), 128);
    return piece;
  }
  Index used() const { return used_; }

 private:
  char* block_;
  Index used_ = 0;
};

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
