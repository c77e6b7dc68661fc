// Matrix products by the processor's tiles (AMX): 16 x 16 float32 sums of 16 rows of A, 16 words of bfloat16 pairs
// each, and 16 words of 16 columns of B. A block of C is 32 x 32: four tiles, two of A, two of B. Operands are padded
// with zeros to whole tiles along the sum, and memory has room for whole tiles of rows: what lies in rows beyond the
// matrix stays there.
#pragma once

#include "core/ops/cpu/simd/types.h"

#include <immintrin.h>

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr Index kTileRows = 16;   // of A and C
constexpr Index kTileWords = 16;  // along the sum
constexpr Index kBlock = 2 * kTileRows;  // rows and columns of C at once; kPanel of product.h

// Words that `count` elements fill, whole tiles.
constexpr Index pair_words(Index count) { return round_up(count, 2 * kTileWords) / 2; }

// The shape of all eight tiles, for the calling thread and as long as this lives.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    asm volatile("ldtilecfg %0" ::"m"(shape));
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// 16 R rows and 16 C columns of C (+)= A B, a sum over `count` words, a multiple of kTileWords. Strides in words; B is
// a panel of 32 columns. The compiler does not see what tiles read: the barriers keep its stores on their side.
template <int R, int C>
inline void tile_block(const std::uint32_t* a, Index a_row, const std::uint32_t* b, Index count, float* c, Index c_row,
                       bool add) {
  constexpr Index kB = 32 * 4;
  const Index stride = c_row * 4, a_stride = a_row * 4;
  float* lower = c + kTileRows * c_row;
  asm volatile("" ::: "memory");
  if (add) {
    _tile_loadd(0, c, stride);
    if constexpr (C == 2) _tile_loadd(1, c + 16, stride);
    if constexpr (R == 2) _tile_loadd(2, lower, stride);
    if constexpr (R == 2 && C == 2) _tile_loadd(3, lower + 16, stride);
  } else {
    _tile_zero(0);
    if constexpr (C == 2) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 2 && C == 2) _tile_zero(3);
  }
  const std::uint32_t* a_lower = a + kTileRows * a_row;
  for (Index k = 0; k < count; k += kTileWords) {
    _tile_loadd(6, b + k * 32, kB);
    _tile_loadd(4, a + k, a_stride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (C == 2) {
      _tile_loadd(7, b + k * 32 + 16, kB);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R == 2) {
      _tile_loadd(5, a_lower + k, a_stride);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, stride);
  if constexpr (C == 2) _tile_stored(1, c + 16, stride);
  if constexpr (R == 2) _tile_stored(2, lower, stride);
  if constexpr (R == 2 && C == 2) _tile_stored(3, lower + 16, stride);
  asm volatile("" ::: "memory");
}

// B: panels of kBlock columns, `stride` words apart.
struct Panels {
  const std::uint32_t* data;
  Index stride;
};

// C [rows, panels] (+)= A B, a sum over `count` words; writes whole tiles of rows. As many rows of A as the first cache
// level keeps meet all of B before the next ones do.
inline void multiply(const std::uint32_t* a, Index a_row, Index rows, Panels b, Index count, Index panels, float* c,
                     Index c_row, bool add) {
  constexpr Index kKept = 6144;  // words
  const Index group = kKept / count < kBlock ? kBlock : kKept / count / kBlock * kBlock;
  for (Index first = 0; first < rows; first += group) {
    const Index end = smaller(first + group, rows);
    for (Index p = 0; p < panels; ++p) {
      const std::uint32_t* panel = b.data + p * b.stride;
      Index i = first;
      for (; i + kTileRows < end; i += kBlock) {
        tile_block<2, 2>(a + i * a_row, a_row, panel, count, c + i * c_row + p * kBlock, c_row, add);
      }
      if (i < end) tile_block<1, 2>(a + i * a_row, a_row, panel, count, c + i * c_row + p * kBlock, c_row, add);
    }
  }
}

// The same, block by block: finish(row, panel, block) gets each 32 x 32 block of C while the tiles are at the next one.
// `blocks` holds two of them. Rows of A in whole blocks.
template <class Finish>
inline void multiply_blocks(const std::uint32_t* a, Index a_row, Index rows, Panels b, Index count, Index panels,
                            float* blocks, Finish finish) {
  Index last_row = 0, last_panel = -1;
  float *block = blocks, *last = blocks + kBlock * kBlock;
  for (Index p = 0; p < panels; ++p) {
    for (Index i = 0; i < rows; i += kBlock) {
      tile_block<2, 2>(a + i * a_row, a_row, b.data + p * b.stride, count, block, kBlock, false);
      if (last_panel >= 0) finish(last_row, last_panel, last);
      float* const other = last;
      last = block;
      block = other;
      last_row = i;
      last_panel = p;
    }
  }
  finish(last_row, last_panel, last);
}

// Vectors by the compiler's own operators: several intrinsics of GCC 12 warn of their undefined operands.
typedef std::uint32_t Words __attribute__((vector_size(64)));

inline void transpose_words(Words (&rows)[16]) {
  Words pairs[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    pairs[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30,
                                           15, 31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int from = i / 2 * 4 + i % 2, to = 2 * i;
    const Words a = pairs[from], b = pairs[from + 2];
    rows[to] = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    rows[to + 1] = __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  // rows[4 i + j]: lanes 4 g .. 4 g + 3 hold column 4 g + j of rows 4 i .. 4 i + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Words a = rows[j], b = rows[4 + j], c = rows[8 + j], d = rows[12 + j];
    const Words low = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    const Words high = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    const Words low2 = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    const Words high2 = __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    pairs[j] = __builtin_shufflevector(low, low2, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    pairs[4 + j] = __builtin_shufflevector(low, low2, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    pairs[8 + j] = __builtin_shufflevector(high, high2, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    pairs[12 + j] = __builtin_shufflevector(high, high2, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = pairs[i];
}

// bfloat16 values in the lower halves of words; lanes beyond the mask are zero.
typedef std::uint16_t Halves __attribute__((vector_size(32)));
inline Words words_of(Halves halves) {
  return reinterpret_cast<Words>(_mm512_maskz_cvtepu16_epi32(0xffff, reinterpret_cast<__m256i>(halves)));
}
inline Words low_halves(const Bf16* p, __mmask16 lanes) {
  return words_of(reinterpret_cast<Halves>(_mm256_maskz_loadu_epi16(lanes, p)));
}
inline Words low_halves(const float* p, __mmask16 lanes) {
  return words_of(reinterpret_cast<Halves>(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, p))));
}
inline __mmask16 lanes_of(Index count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}
inline void store_words(std::uint32_t* p, Words value) { _mm512_storeu_si512(p, reinterpret_cast<__m512i>(value)); }

// The pairs of rows 2 k and 2 k + 1 of `count` rows; zeros for rows that are not there.
template <class T>
inline Words paired_rows(const T* source, Index source_row, Index k, Index count, __mmask16 lanes) {
  if (2 * k >= count) return Words{};
  const T* row = source + 2 * k * source_row;
  const Words low = low_halves(row, lanes);
  return 2 * k + 1 < count ? low | (low_halves(row + source_row, lanes) << 16) : low;
}

// The transpose of a row-major tile [count, rows of A]: [rows, padded to whole tiles][length words].
template <class T>
void pack_tile_columns(const T* source, Index source_row, Index count, Index rows, Index length,
                       std::uint32_t* packed) {
  for (Index i = 0; i < rows; i += kTileRows) {
    const __mmask16 lanes = lanes_of(rows - i);
    for (Index first = 0; first < length; first += kTileWords) {
      Words block[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) block[k] = paired_rows(source + i, source_row, first + k, count, lanes);
      transpose_words(block);
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) store_words(packed + (i + r) * length + first, block[r]);
    }
  }
}

// A panel of 32 columns from the rows of a matrix, `length` words a column.
template <class T>
void pack_tile_panel(const T* source, Index source_row, Index count, Index columns, Index length,
                     std::uint32_t* panel) {
  const __mmask16 left = lanes_of(columns), right = lanes_of(columns - 16);
  for (Index k = 0; k < length; ++k) {
    store_words(panel + k * 32, paired_rows(source, source_row, k, count, left));
    store_words(panel + k * 32 + 16, right == 0 ? Words{} : paired_rows(source + 16, source_row, k, count, right));
  }
}

// Sixteen words of bfloat16 pairs of one row, from element `first` on; elements from `count` on are zero.
inline Words row_words(const Bf16* row, Index first, Index count) {
  const Index left = count - first;
  const auto lanes = left >= 32 ? 0xffffffffU : left <= 0 ? 0U : (std::uint32_t{1} << left) - 1;
  return reinterpret_cast<Words>(_mm512_maskz_loadu_epi16(lanes, row + first));
}
inline Words row_words(const float* row, Index first, Index count) {
  const __m512 low = _mm512_maskz_loadu_ps(lanes_of(count - first), row + first);
  const __m512 high = _mm512_maskz_loadu_ps(lanes_of(count - first - 16), row + first + 16);
  return reinterpret_cast<Words>(_mm512_cvtne2ps_pbh(high, low));
}

// A panel of 32 columns from the transpose of a matrix whose rows they are; `count` is their length.
template <class T>
void pack_tile_transposed_panel(const T* source, Index source_row, Index count, Index columns, Index length,
                                std::uint32_t* panel) {
  for (Index half = 0; half < 32; half += 16) {
    for (Index first = 0; first < length; first += kTileWords) {
      Words block[16];
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) {
        block[j] = half + j < columns ? row_words(source + (half + j) * source_row, 2 * first, count) : Words{};
      }
      transpose_words(block);
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) store_words(panel + (first + k) * 32 + half, block[k]);
    }
  }
}

// All panels by the threads of a team (call it from all of them); a barrier ends it. Of the rows of [count, columns],
// or of the transpose of [columns, count].
inline Panels share_row_panels(const Bf16* source, Index count, Index columns, std::uint32_t* packed) {
  const Index length = pair_words(count), stride = length * kBlock;
#pragma omp for schedule(static)
  for (Index first = 0; first < columns; first += kBlock) {
    pack_tile_panel(source + first, columns, count, columns - first, length, packed + first / kBlock * stride);
  }
  return {packed, stride};
}
inline Panels share_transposed_panels(const Bf16* source, Index count, Index columns, std::uint32_t* packed) {
  const Index length = pair_words(count), stride = length * kBlock;
#pragma omp for schedule(static)
  for (Index first = 0; first < columns; first += kBlock) {
    pack_tile_transposed_panel(source + first * count, count, count, columns - first, length,
                               packed + first / kBlock * stride);
  }
  return {packed, stride};
}
inline Index panels_words(Index count, Index columns) { return pair_words(count) * round_up(columns, kBlock); }

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
