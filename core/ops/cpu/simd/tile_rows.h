// Rows of bfloat16 between products by tiles, 32 values at once; exp2 and tanh of whole vectors. What a row holds
// beyond its width reads as zero and is not written. Numbers below 1.2e-38 round to zero here, as they do in the
// products.
#pragma once

#include "core/ops/cpu/simd/rows.h"
#include "core/ops/cpu/simd/tiles.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr __mmask16 kAll = 0xffff;

struct Two {
  Vec low, high;
};
inline Two operator+(Two a, Two b) { return {a.low + b.low, a.high + b.high}; }
inline Two operator-(Two a, Two b) { return {a.low - b.low, a.high - b.high}; }
inline Two operator*(Two a, Two b) { return {a.low * b.low, a.high * b.high}; }
inline Two operator*(Two a, float b) { return {a.low * b, a.high * b}; }

typedef std::uint16_t AllHalves __attribute__((vector_size(64)));
inline Vec raised(Halves halves) { return reinterpret_cast<Vec>(words_of(halves) << 16); }
inline Two widen_words(Words pairs) {
  const auto all = reinterpret_cast<AllHalves>(pairs);
  return {raised(__builtin_shufflevector(all, all, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
          raised(__builtin_shufflevector(all, all, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31))};
}
inline Two load_two(const Bf16* p) {
  typedef std::uint16_t HalvesAnywhere __attribute__((vector_size(32), aligned(2), may_alias));
  return {raised(*reinterpret_cast<const HalvesAnywhere*>(p)),
          raised(*reinterpret_cast<const HalvesAnywhere*>(p + 16))};
}
inline Two load_two(const float* p) { return {load(p), load(p + 16)}; }
inline __mmask32 values_of(Index left) {
  return left >= 32 ? 0xffffffffU : left <= 0 ? 0U : (std::uint32_t{1} << left) - 1;
}
// The first `left` values of p.
inline Two load_two(const Bf16* p, Index left) {
  if (left >= 32) return load_two(p);
  return widen_words(reinterpret_cast<Words>(_mm512_maskz_loadu_epi16(values_of(left), p)));
}
inline void store_two(float* p, Two x) {
  store(p, x.low);
  store(p + 16, x.high);
}
// As 32 bfloat16 values.
inline Words narrow_two(Two x) {
  return reinterpret_cast<Words>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(x.high),
                                                     reinterpret_cast<__m512>(x.low)));
}
inline void store_two(Bf16* p, Words x) { _mm512_storeu_si512(p, reinterpret_cast<__m512i>(x)); }
inline void store_two(Bf16* p, Words x, Index left) {
  if (left >= 32) return store_two(p, x);
  _mm512_mask_storeu_epi16(p, values_of(left), reinterpret_cast<__m512i>(x));
}
// Asks for the lines of a row that is written later, or read: rows that are visited a few columns at a time look random
// to the processor.
inline void prefetch(const Bf16* row, Index count) {
  for (Index j = 0; j < count; j += 32) __builtin_prefetch(row + j);
}
inline Bf16* values(std::uint32_t* pairs) { return reinterpret_cast<Bf16*>(pairs); }

// Words of pairs from the values of two rows: those of the lower halves, those of the upper halves.
inline Words pair_rows(Vec row, Vec next) {
  const auto both = reinterpret_cast<AllHalves>(narrow_two({row, next}));
  return reinterpret_cast<Words>(__builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22,
                                                         7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,
                                                         15, 31));
}

typedef float Half __attribute__((vector_size(32)));
typedef float Quarter __attribute__((vector_size(16)));
inline float sum_of(Vec x) {
  const Half a = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
      __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const Quarter b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
  const Quarter c = b + __builtin_shufflevector(b, b, 2, 3, 2, 3);
  return c[0] + c[1];
}
inline float largest_of(Vec x) {
  const Half low = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7),
      high = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const Half a = low > high ? low : high;
  const Quarter left = __builtin_shufflevector(a, a, 0, 1, 2, 3), right = __builtin_shufflevector(a, a, 4, 5, 6, 7);
  const Quarter b = left > right ? left : right;
  return larger(larger(b[0], b[1]), larger(b[2], b[3]));
}
inline Vec largest(Vec a, Vec b) {
  return reinterpret_cast<Vec>(_mm512_maskz_max_ps(kAll, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
}
// x where the mask is set, and `other` elsewhere.
inline Two chosen(__mmask32 lanes, Two x, float other) {
  const auto one = [other](__mmask16 mask, Vec value) {
    return reinterpret_cast<Vec>(_mm512_mask_blend_ps(mask, reinterpret_cast<__m512>(Vec{} + other),
                                                      reinterpret_cast<__m512>(value)));
  };
  return {one(static_cast<__mmask16>(lanes), x.low), one(static_cast<__mmask16>(lanes >> 16), x.high)};
}
inline Vec same(float x) { return Vec{} + x; }

// The sum of every one of sixteen vectors that lie one after the other.
inline Vec sums_of(const float* vectors) {
  Words rows[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = reinterpret_cast<Words>(load(vectors + 16 * i));
  transpose_words(rows);
  Vec sum{};
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) sum = sum + reinterpret_cast<Vec>(rows[i]);
  return sum;
}

inline Vec squares(const Bf16* x, Index width) {  // lane by lane
  Two sum{};
  for (Index j = 0; j < width; j += 32) {
    const Two value = load_two(x + j, width - j);
    sum = sum + value * value;
  }
  return sum.low + sum.high;
}
// 1 / rms of sixteen rows of `count` values whose squares' sums lie in `vectors`, lane by lane.
inline void inverse_rms_of(const float* vectors, Index count, float* inverses) {
  const Vec mean = sums_of(vectors) / static_cast<float>(count) + kEpsilon;
  store(inverses, 1.0F / reinterpret_cast<Vec>(_mm512_maskz_sqrt_ps(kAll, reinterpret_cast<__m512>(mean))));
}
// out = x * factor, with zeros up to whole words of tiles.
inline void scale_row_two(const Bf16* x, float factor, Index width, Bf16* out) {
  for (Index j = 0; j < width; j += 32) store_two(out + j, narrow_two(load_two(x + j, width - j) * factor));
}
// A copy of `count` floats with zeros up to whole panels.
inline void pad_copy(const float* from, Index count, float* to) {
  for (Index j = 0; j < round_up(count, 32); ++j) to[j] = j < count ? from[j] : 0.0F;
}

// 2^x for x <= 127; 0 far below. Polynomial of Cephes' exp2f.
inline Vec exp2_two(Vec x) {
  const auto whole = _mm512_maskz_roundscale_ps(kAll, reinterpret_cast<__m512>(x), 0x08);  // to nearest even
  const Vec f = x - reinterpret_cast<Vec>(whole);
  Vec y = f * 1.535336188319500e-4F + 1.339887440266574e-3F;
  y = y * f + 9.618437357674640e-3F;
  y = y * f + 5.550332471162809e-2F;
  y = y * f + 2.402264791363012e-1F;
  y = y * f + 6.931472028550421e-1F;
  y = y * f + 1.0F;
  return reinterpret_cast<Vec>(_mm512_maskz_scalef_ps(kAll, reinterpret_cast<__m512>(y), whole));
}
// ln x of normal x > 0: 2 artanh((m - 1) / (m + 1)) of the mantissa m, and the exponent; NaN stays NaN.
inline Vec log_two(Vec x) {
  const auto from = reinterpret_cast<__m512>(x);
  const auto scaled = _mm512_maskz_getmant_ps(kAll, from, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
  const auto mantissa = reinterpret_cast<Vec>(scaled);
  const Vec t = (mantissa - 1.0F) / (mantissa + 1.0F), square = t * t;
  Vec y = square * (1.0F / 13) + 1.0F / 11;
  y = y * square + 1.0F / 9;
  y = y * square + 1.0F / 7;
  y = y * square + 1.0F / 5;
  y = y * square + 1.0F / 3;
  y = y * square + 1.0F;
  return 2.0F * t * y + reinterpret_cast<Vec>(_mm512_maskz_getexp_ps(kAll, from)) * 0.693147180559945309F;
}
inline Vec reciprocal(Vec x) {
  const auto guess = reinterpret_cast<Vec>(_mm512_maskz_rcp14_ps(kAll, reinterpret_cast<__m512>(x)));
  return guess * (2.0F - x * guess);
}
constexpr float kNothing = -1e30F;  // an exponent that adds nothing
constexpr float kLog2E = 1.44269504088896341F, kLn2 = 0.693147180559945309F;

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
