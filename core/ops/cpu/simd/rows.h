// What happens to single rows between the products: norms and their gradients, and the operands of products.
#pragma once

#include "core/ops/cpu/simd/product.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07F;  // ops::kNormEpsilon
constexpr Index kTile = 96;                          // rows that a thread carries through a chain of products

// A value on its way into a product: rounded as storage of type T would round it.
template <class T>
inline void operand(float value, float& out) {
  out = rounded<T>(value);
}
template <class T>
inline void operand(float value, Bf16& out) {
  narrow(value, out);
}

// Elements between the rows of an operand tile with that many columns, and its zero padding to whole words.
template <class O>
constexpr Index operand_row(Index columns) {
  return words<O>(columns) * WordOf<O>::elements;
}
template <class O>
inline void pad_operand(O* row, Index columns) {
  if constexpr (WordOf<O>::elements == 2) {
    if (columns % 2 != 0) row[columns] = Bf16{0};
  }
}
template <class O>
inline Left<Word<O>> left(const O* tile, Index row_elements) {
  return {reinterpret_cast<const Word<O>*>(tile), row_elements / WordOf<O>::elements, 1};
}

inline float inverse_rms(float sum_of_squares, Index count) {
  return 1.0F / __builtin_sqrtf(sum_of_squares / static_cast<float>(count) + kEpsilon);
}

template <class T>
inline float sum_of_squares(const T* x, Index count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < count; ++j) sum += widen(x[j]) * widen(x[j]);
  return sum;
}

// out = x * factor, as an operand: with its padding, so `out` is a row of an operand tile and not of a tensor.
template <class T, class O>
inline void scale_row(const T* x, float factor, Index count, O* out) {
#pragma omp simd
  for (Index j = 0; j < count; ++j) operand<T>(widen(x[j]) * factor, out[j]);
  pad_operand(out, count);
}

// out = x * factors, elementwise, as an operand.
template <class T, class O>
inline void scale_columns(const T* x, const float* factors, Index count, O* out) {
#pragma omp simd
  for (Index j = 0; j < count; ++j) operand<T>(widen(x[j]) * factors[j], out[j]);
  pad_operand(out, count);
}

// mix[0] x + mix[1] x0, rounded to T, in float32.
template <class T>
inline void mix_row(const T* x, const T* x0, const float* mix, Index count, float* out) {
#pragma omp simd
  for (Index j = 0; j < count; ++j) out[j] = rounded<T>(mix[j] * widen(x[j]) + mix[count + j] * widen(x0[j]));
}

// out = x + scale * y.
template <class T, class X>
inline void add_scaled_row(const X* x, const float* scale, const float* y, Index count, T* out) {
#pragma omp simd
  for (Index j = 0; j < count; ++j) narrow(widen(x[j]) + scale[j] * y[j], out[j]);
}

inline float dot(const float* a, const float* b, Index count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < count; ++j) sum += a[j] * b[j];
  return sum;
}

// Gradient of n = x * inverse through the norm: inverse (dn - n mean(dn n)), in place of dn.
inline void norm_backward_row(float* dn, const float* n, float inverse, Index count) {
  const float mean = dot(dn, n, count) / static_cast<float>(count);
#pragma omp simd
  for (Index j = 0; j < count; ++j) dn[j] = inverse * (dn[j] - n[j] * mean);
}

// Adds `teams` accumulators of `size` floats into the first, for rows [from, to) of `row` floats.
inline void sum_rows(float* accumulators, Index teams, Index size, Index row_index, Index row) {
  float* out = accumulators + row_index * row;
  for (Index t = 1; t < teams; ++t) {
    const float* in = out + t * size;
#pragma omp simd
    for (Index j = 0; j < row; ++j) out[j] += in[j];
  }
}

inline void clear(float* data, Index count) {
#pragma omp simd
  for (Index j = 0; j < count; ++j) data[j] = 0;
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
