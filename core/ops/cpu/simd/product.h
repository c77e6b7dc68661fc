// Matrix products of tiles, by one thread: C (+)= A B with float32 sums. One microkernel serves forward, input gradients and
// weight gradients; only the strides of A and the packing of B differ.
// A is read word by word (a float, or a pair of bfloat16 neighbours along the inner dimension) and broadcast; B lies in
// panels of kPanel columns: [columns / kPanel][words][kPanel]; C is float32, its rows padded to whole panels.
#pragma once

#include "core/ops/cpu/simd/types.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr Index kLanes = CADDIE_LANES;
constexpr Index kPanel = 2 * kLanes;
constexpr Index kRows = CADDIE_LANES == 16 ? 12 : 6;  // rows of a microkernel: as many as the registers hold

typedef float Vec __attribute__((vector_size(4 * CADDIE_LANES)));
typedef float VecAnywhere __attribute__((vector_size(4 * CADDIE_LANES), aligned(4), may_alias));
using PairWord = std::uint32_t;  // read from arrays of Bf16: these files are compiled with -fno-strict-aliasing

// What a product multiplies. bfloat16 operands need the processor's dot product of pairs; elsewhere bfloat16 values are
// multiplied as float32.
#if defined(__AVX512BF16__)
template <class T>
struct OperandOf {
  using type = T;
};
#else
template <class T>
struct OperandOf {
  using type = float;
};
#endif
template <class T>
using Operand = typename OperandOf<T>::type;

template <class O>
struct WordOf;
template <>
struct WordOf<float> {
  using type = float;
  static constexpr Index elements = 1;
};
template <>
struct WordOf<Bf16> {
  using type = PairWord;
  static constexpr Index elements = 2;
};
template <class O>
using Word = typename WordOf<O>::type;
// Words that `count` elements fill; the last one is padded with a zero.
template <class O>
constexpr Index words(Index count) {
  return (count + WordOf<O>::elements - 1) / WordOf<O>::elements;
}

inline Vec load(const float* p) { return *reinterpret_cast<const VecAnywhere*>(p); }
inline void store(float* p, Vec value) { *reinterpret_cast<VecAnywhere*>(p) = value; }

inline Vec multiply_add(Vec sum, float a, Vec b) { return sum + a * b; }
#if defined(__AVX512BF16__)
inline Vec multiply_add(Vec sum, std::uint32_t a, Vec b) {
  return reinterpret_cast<Vec>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                                                reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a))),
                                                reinterpret_cast<__m512bh>(b)));
}
#endif

// R rows of A against one panel of B. `row` and `step` are A's strides in words, between rows and along the sum.
template <class W, int R>
void micro(const W* a, Index row, Index step, const W* b, Index count, float* c, Index c_row, bool add) {
  Vec sums[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    sums[i][0] = add ? load(c + i * c_row) : Vec{};
    sums[i][1] = add ? load(c + i * c_row + kLanes) : Vec{};
  }
  // Three pointers and three offsets address twelve rows without spilling.
  const W *a0 = a, *a1 = a + 4 * row, *a2 = a + 8 * row;
  const Index row2 = 2 * row, row3 = 3 * row;
  for (Index k = 0; k < count; ++k) {
    const Vec left = load(reinterpret_cast<const float*>(b)), right = load(reinterpret_cast<const float*>(b + kLanes));
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const W* base = i < 4 ? a0 : i < 8 ? a1 : a2;
      const W value = i % 4 == 0 ? base[0] : i % 4 == 1 ? base[row] : i % 4 == 2 ? base[row2] : base[row3];
      sums[i][0] = multiply_add(sums[i][0], value, left);
      sums[i][1] = multiply_add(sums[i][1], value, right);
    }
    a0 += step;
    a1 += step;
    a2 += step;
    b += kPanel;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    store(c + i * c_row, sums[i][0]);
    store(c + i * c_row + kLanes, sums[i][1]);
  }
}

template <class W>
using Micro = void (*)(const W*, Index, Index, const W*, Index, float*, Index, bool);

// The microkernel for `rows` of 1 to kRows.
template <class W>
inline Micro<W> micro_of(Index rows) {
  static constexpr Micro<W> table[] = {
      micro<W, 1>, micro<W, 2>, micro<W, 3>, micro<W, 4>,  micro<W, 5>,  micro<W, 6>,
#if CADDIE_LANES == 16
      micro<W, 7>, micro<W, 8>, micro<W, 9>, micro<W, 10>, micro<W, 11>, micro<W, 12>,
#endif
  };
  return table[rows - 1];
}

// A of a product: strides in words, between rows and along the sum.
template <class W>
struct Left {
  const W* data;
  Index row, step;
};
// B: panels, `stride` words apart.
template <class W>
struct Right {
  const W* data;
  Index stride;
};

// C [rows, panels kPanel] (+)= A B, a sum over `count` words.
template <class W>
void product(Left<W> a, Index rows, Right<W> b, Index count, Index panels, float* c, Index c_row, bool add) {
  for (Index p = 0; p < panels; ++p) {
    for (Index i = 0; i < rows; i += kRows) {
      micro_of<W>(smaller(kRows, rows - i))(a.data + i * a.row, a.row, a.step, b.data + p * b.stride, count,
                                            c + i * c_row + p * kPanel, c_row, add);
    }
  }
}

// The same with A packed by pack_columns: [rows / kRows][count words][kRows].
template <class W>
void product_packed(const W* a, Index rows, Right<W> b, Index count, Index panels, float* c, Index c_row, bool add) {
  for (Index p = 0; p < panels; ++p) {
    for (Index i = 0; i < rows; i += kRows) {
      micro_of<W>(smaller(kRows, rows - i))(a + i * count, 1, kRows, b.data + p * b.stride, count,
                                            c + i * c_row + p * kPanel, c_row, add);
    }
  }
}

inline std::uint32_t bits_of(float value) {
  Bf16 stored;
  narrow(value, stored);
  return stored.bits;
}

// One panel (columns [first, first + kPanel)) of B from a row-major matrix: B[k, j] = source[k, j]. Columns and rows beyond
// the matrix are zero. `count` rows; the panel has words<O>(count) words a column.
template <class O, class T>
void pack_rows_panel(const T* source, Index source_row, Index count, Index first, Index columns, Word<O>* panel) {
  const Index valid = smaller(kPanel, columns - first);
  for (Index k = 0; k < words<O>(count); ++k) {
    Word<O>* out = panel + k * kPanel;
    if constexpr (WordOf<O>::elements == 1) {
      const T* in = source + k * source_row + first;
      if (valid == kPanel) {
#pragma omp simd
        for (Index j = 0; j < kPanel; ++j) out[j] = widen(in[j]);
      } else {
        for (Index j = 0; j < kPanel; ++j) out[j] = j < valid ? widen(in[j]) : 0.0F;
      }
    } else {
      const T* in = source + 2 * k * source_row + first;
      const bool paired = 2 * k + 1 < count;
      const T* next = paired ? in + source_row : in;
      const std::uint32_t mask = paired ? 0xffffffffU : 0xffffU;
      if (valid == kPanel) {
#pragma omp simd
        for (Index j = 0; j < kPanel; ++j) out[j] = (bits_of(widen(in[j])) | (bits_of(widen(next[j])) << 16)) & mask;
      } else {
        for (Index j = 0; j < kPanel; ++j) {
          out[j] = j < valid ? (bits_of(widen(in[j])) | (bits_of(widen(next[j])) << 16)) & mask : 0U;
        }
      }
    }
  }
}

// One panel of B from the transpose of a row-major matrix: B[k, j] = source[j, k], `count` = the source's columns.
template <class O, class T>
void pack_transposed_panel(const T* source, Index source_row, Index count, Index first, Index columns, Word<O>* panel) {
  const Index valid = smaller(kPanel, columns - first);
  for (Index j = 0; j < kPanel; ++j) {
    const T* in = source + (first + j) * source_row;
    for (Index k = 0; k < words<O>(count); ++k) {
      if constexpr (WordOf<O>::elements == 1) {
        panel[k * kPanel + j] = j < valid ? widen(in[k]) : 0.0F;
      } else {
        const std::uint32_t low = j < valid ? bits_of(widen(in[2 * k])) : 0U;
        const std::uint32_t high = j < valid && 2 * k + 1 < count ? bits_of(widen(in[2 * k + 1])) : 0U;
        panel[k * kPanel + j] = low | (high << 16);
      }
    }
  }
}

// A of a weight gradient: the transpose of a row-major tile [count, rows of A], packed for product_packed.
template <class O, class T>
void pack_columns(const T* source, Index source_row, Index count, Index rows, Word<O>* packed) {
  const Index length = words<O>(count);
  for (Index i = 0; i < rows; i += kRows) {
    const Index valid = smaller(kRows, rows - i);
    Word<O>* block = packed + i * length;
    if (sizeof(T) == 4 && sizeof(O) == 4 && valid == kRows) {
      for (Index k = 0; k < length; ++k) {
        __builtin_memcpy(block + k * kRows, source + k * source_row + i, kRows * sizeof(float));
      }
      continue;
    }
    for (Index k = 0; k < length; ++k) {
      for (Index r = 0; r < valid; ++r) {
        if constexpr (WordOf<O>::elements == 1) {
          block[k * kRows + r] = widen(source[k * source_row + i + r]);
        } else {
          const std::uint32_t low = bits_of(widen(source[2 * k * source_row + i + r]));
          const std::uint32_t high = 2 * k + 1 < count ? bits_of(widen(source[(2 * k + 1) * source_row + i + r])) : 0U;
          block[k * kRows + r] = low | (high << 16);
        }
      }
    }
  }
}

// All panels by the threads of a team (call it from all of them); a barrier ends it.
template <class O, class T>
Right<Word<O>> pack_rows(const T* source, Index count, Index columns, Word<O>* packed) {
  const Index stride = words<O>(count) * kPanel, panels = (columns + kPanel - 1) / kPanel;
#pragma omp for schedule(static)
  for (Index p = 0; p < panels; ++p) {
    pack_rows_panel<O>(source, columns, count, p * kPanel, columns, packed + p * stride);
  }
  return {packed, stride};
}
template <class O, class T>
Right<Word<O>> pack_transposed(const T* source, Index count, Index columns, Word<O>* packed) {
  const Index stride = words<O>(count) * kPanel, panels = (columns + kPanel - 1) / kPanel;
#pragma omp for schedule(static)
  for (Index p = 0; p < panels; ++p) {
    pack_transposed_panel<O>(source, count, count, p * kPanel, columns, packed + p * stride);
  }
  return {packed, stride};
}

// The panels of a tile's rows, by one thread.
template <class O, class T>
Right<Word<O>> pack_tile(const T* source, Index source_row, Index count, Index columns, Word<O>* packed) {
  const Index stride = words<O>(count) * kPanel;
  for (Index first = 0, p = 0; first < columns; first += kPanel, ++p) {
    pack_rows_panel<O>(source, source_row, count, first, columns, packed + p * stride);
  }
  return {packed, stride};
}

inline Index panels_of(Index columns) { return (columns + kPanel - 1) / kPanel; }
inline Index padded(Index columns) { return panels_of(columns) * kPanel; }
template <class O>
inline Index panel_words(Index count, Index columns) {
  return panels_of(columns) * words<O>(count) * kPanel;
}
template <class O>
inline Index column_words(Index count, Index rows) {
  return round_up(rows, kRows) * words<O>(count);
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
