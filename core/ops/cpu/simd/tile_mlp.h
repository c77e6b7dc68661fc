// The MLP half of a block in bfloat16 by tiles: as in mlp.h, but what happens to a product's values happens to each
// 32 x 32 block of it while the tiles are at the next one. Weight gradients are sums over the rows of a whole tile of
// rows: their second operand is written as pairs of rows by the blocks themselves.
#pragma once

#include <omp.h>

#include "core/ops/cpu/simd/mlp.h"
#include "core/ops/cpu/simd/tile_rows.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr Index kTall = 64;    // rows that go through a chain of products
constexpr Index kDeep = 256;   // rows that a weight gradient sums at once: a multiple of kTall

inline Vec leaky(Vec x, float slope) { return x > 0 ? x : x * slope; }

template <>
void mlp_forward_typed<Bf16>(const Common& common, const MlpForward& m) {
  const Index width = m.width, hidden = m.hidden, rows = m.rows;
  const auto* x = static_cast<const Bf16*>(m.x);
  const auto *up = static_cast<const Bf16*>(m.up), *down = static_cast<const Bf16*>(m.down);
  auto *out = static_cast<Bf16*>(m.out), *before = static_cast<Bf16*>(m.before);
  const Index shared_words = panels_words(width, hidden) + panels_words(hidden, width);
  auto* shared = static_cast<std::uint32_t*>(common.scratch(0, shared_words * 4));
  const Index narrow_row = pair_words(width), wide_row = pair_words(hidden);
  const float slope = m.slope;

#pragma omp parallel num_threads(common.threads)
  {
    const Tiles tiles;
    const auto up_panels = share_transposed_panels(up, width, hidden, shared);
    const auto down_panels = share_transposed_panels(down, hidden, width, shared + panels_words(width, hidden));
    std::uint32_t *normed = nullptr, *active = nullptr;
    float *blocks = nullptr, *scale = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      blocks = carver.take<float>(2 * kBlock * kBlock);
      normed = carver.take<std::uint32_t>(kTall * narrow_row);
      active = carver.take<std::uint32_t>(kTall * wide_row);
      scale = carver.take<float>(padded(width));
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));
    pad_copy(m.scale, width, scale);

#pragma omp for schedule(static)
    for (Index first = 0; first < rows; first += kTall) {
      const Index count = smaller(kTall, rows - first);
      for (Index r = 0; r < count; ++r) {
        store(blocks + 16 * r, squares(x + (first + r) * width, width));
        prefetch(out + (first + r) * width, width);
      }
      float inverses[kTall];
      for (Index r = 0; r < count; r += 16) inverse_rms_of(blocks + 16 * r, width, inverses + r);
      for (Index r = 0; r < count; ++r) {
        if (m.norm != nullptr) m.norm[first + r] = inverses[r];
        scale_row_two(x + (first + r) * width, inverses[r], width, values(normed + r * narrow_row));
      }
      multiply_blocks(normed, narrow_row, count, up_panels, narrow_row, panels_of(hidden), blocks,
                      [&](Index i, Index p, const float* block) {
        const Index column = p * kBlock, end = smaller(kBlock, count - i);
        for (Index r = 0; r < end; ++r) {
          const Words kept = narrow_two(load_two(block + r * kBlock));
          if (before != nullptr) {
            Bf16* to = before + (first + i + r) * hidden + column;
            __builtin_prefetch(to + kBlock);
            store_two(to, kept, hidden - column);
          }
          const Two value = widen_words(kept), bent{leaky(value.low, slope), leaky(value.high, slope)};
          store_two(values(active + (i + r) * wide_row) + column, narrow_two(bent * bent));
        }
      });
      multiply_blocks(active, wide_row, count, down_panels, wide_row, panels_of(width), blocks,
                      [&](Index i, Index p, const float* block) {
        const Index column = p * kBlock, end = smaller(kBlock, count - i), left = width - column;
        const Two factor = load_two(scale + column);
        for (Index r = 0; r < end; ++r) {
          const Index at = (first + i + r) * width + column;
          store_two(out + at, narrow_two(load_two(x + at, left) + factor * load_two(block + r * kBlock)), left);
        }
      });
    }
  }
}

// Sums of all threads into the first's, row by row, by the threads of a team; a barrier ends it.
inline void share_sum_rows(float* sums, Index team, Index size, Index rows, Index row) {
#pragma omp for schedule(static)
  for (Index i = 0; i < rows; ++i) sum_rows(sums, team, size, i, row);
}
// The transpose of sums [columns, row] as [rows, columns], by the threads of a team.
inline void share_transpose(const float* sums, Index row, Index rows, Index columns, float* out) {
#pragma omp for schedule(static)
  for (Index i = 0; i < rows; i += 16) {
    for (Index j = 0; j < columns; j += 16) {
      Words block[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) block[k] = reinterpret_cast<Words>(load(sums + (j + k) * row + i));
      transpose_words(block);
      const __mmask16 lanes = lanes_of(columns - j);
      for (Index k = 0; k < smaller(16, rows - i); ++k) {
        _mm512_mask_storeu_ps(out + (i + k) * columns + j, lanes, reinterpret_cast<__m512>(block[k]));
      }
    }
  }
}
// Gradient of a map's weight before the scale of its output: the scale's gradient needs no output of forward, for the
// sum over rows of gradient * (W a) is W . (gradient^T a).
inline float scaled_weight_row(const float* from, const Bf16* weight, float factor, Index count, float* to) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < count; ++j) {
    sum += from[j] * widen(weight[j]);
    to[j] = from[j] * factor;
  }
  return sum;
}

template <>
void mlp_backward_typed<Bf16>(const Common& common, const MlpBackward& m) {
  const Index width = m.width, hidden = m.hidden, rows = m.rows;
  const auto* x = static_cast<const Bf16*>(m.x);
  const auto *up = static_cast<const Bf16*>(m.up), *down = static_cast<const Bf16*>(m.down);
  const auto *before = static_cast<const Bf16*>(m.before), *gradient = static_cast<const Bf16*>(m.gradient);
  auto* x_gradient = static_cast<Bf16*>(m.x_gradient);
  // A thread's sums: the weight gradients of up, transposed, and of down before its scale; both [D, M].
  const Index wide = padded(hidden), sum_size = round_up(width, kTileRows) * wide, team_size = 2 * sum_size;
  std::uint32_t *down_packed = nullptr, *up_packed = nullptr;
  float* sums = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    down_packed = carver.take<std::uint32_t>(panels_words(width, hidden));
    up_packed = carver.take<std::uint32_t>(panels_words(hidden, width));
    sums = carver.take<float>(common.threads * team_size);
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index narrow_row = pair_words(width), wide_row = pair_words(hidden);
  const Index back_row = padded(width), pair_stride = kDeep / 2 * kBlock;
  const float slope = m.slope;

#pragma omp parallel num_threads(common.threads)
  {
    const Tiles tiles;
    const Index team = omp_get_num_threads();
    float *up_sum = sums + omp_get_thread_num() * team_size, *down_sum = up_sum + sum_size;
    clear(up_sum, team_size);
    const auto down_panels = share_row_panels(down, width, hidden, down_packed);
    const auto up_panels = share_row_panels(up, hidden, width, up_packed);
    std::uint32_t *scaled = nullptr, *change = nullptr, *normed = nullptr, *columns = nullptr;
    std::uint32_t *active_pairs = nullptr, *change_pairs = nullptr;
    float *blocks = nullptr, *scale = nullptr, *back = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      blocks = carver.take<float>(2 * kBlock * kBlock);
      scale = carver.take<float>(back_row);
      scaled = carver.take<std::uint32_t>(kTall * narrow_row);  // gradient * scale
      change = carver.take<std::uint32_t>(kTall * wide_row);    // gradient of the activation's input
      back = carver.take<float>(kTall * back_row);              // gradient of the normed rows
      normed = carver.take<std::uint32_t>(kDeep * narrow_row);
      columns = carver.take<std::uint32_t>(round_up(width, kTileRows) * kDeep / 2);
      active_pairs = carver.take<std::uint32_t>(panels_of(hidden) * pair_stride);
      change_pairs = carver.take<std::uint32_t>(panels_of(hidden) * pair_stride);
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));
    pad_copy(m.scale, width, scale);

#pragma omp for schedule(static)
    for (Index deep = 0; deep < rows; deep += kDeep) {
      const Index all = smaller(kDeep, rows - deep);
      for (Index tall = 0; tall < all; tall += kTall) {
        const Index first = deep + tall, count = smaller(kTall, all - tall);
        for (Index r = 0; r < count; ++r) {
          const Bf16 *row = gradient + (first + r) * width, *in = x + (first + r) * width;
          Bf16 *to = values(scaled + r * narrow_row), *normal = values(normed + (tall + r) * narrow_row);
          const float inverse = m.norm[first + r];
          prefetch(x_gradient + (first + r) * width, width);
          for (Index j = 0; j < width; j += 32) {
            store_two(to + j, narrow_two(load_two(row + j, width - j) * load_two(scale + j)));
            store_two(normal + j, narrow_two(load_two(in + j, width - j) * inverse));
          }
        }
        multiply_blocks(scaled, narrow_row, count, down_panels, narrow_row, panels_of(hidden), blocks,
                        [&](Index i, Index p, const float* block) {
          const Index column = p * kBlock, end = smaller(kBlock, count - i), left = hidden - column;
          std::uint32_t* actives = active_pairs + p * pair_stride + (tall + i) / 2 * kBlock;
          std::uint32_t* changes = change_pairs + p * pair_stride + (tall + i) / 2 * kBlock;
          for (Index r = 0; r < kBlock; r += 2, actives += kBlock, changes += kBlock) {
            Two active[2] = {}, changed[2] = {};
            for (Index k = 0; k < smaller(2, end - r); ++k) {
              const Bf16* kept = before + (first + i + r + k) * hidden + column;
              __builtin_prefetch(kept + kBlock);
              const Two value = load_two(kept, left);
              const Two side{value.low > 0 ? same(1) : same(slope), value.high > 0 ? same(1) : same(slope)};
              const Two bent = value * side;
              active[k] = bent * bent;
              changed[k] = load_two(block + (r + k) * kBlock) * (bent * side * 2.0F);
              store_two(values(change + (i + r + k) * wide_row) + column, narrow_two(changed[k]));
            }
            store_words(actives, pair_rows(active[0].low, active[1].low));
            store_words(actives + 16, pair_rows(active[0].high, active[1].high));
            store_words(changes, pair_rows(changed[0].low, changed[1].low));
            store_words(changes + 16, pair_rows(changed[0].high, changed[1].high));
          }
        });
        multiply(change, wide_row, count, up_panels, wide_row, panels_of(width), back, back_row, false);
        for (Index r = 0; r < count; ++r) {
          const float* row = back + r * back_row;
          const Bf16 *normal = values(normed + (tall + r) * narrow_row), *in = gradient + (first + r) * width;
          Two along{};
          for (Index j = 0; j < width; j += 32) along = along + load_two(row + j) * load_two(normal + j);
          const float inverse = m.norm[first + r], mean = sum_of(along.low + along.high) / static_cast<float>(width);
          Bf16* to = x_gradient + (first + r) * width;
          for (Index j = 0; j < width; j += 32) {
            const Two change_of = (load_two(row + j) - load_two(normal + j) * mean) * inverse;
            store_two(to + j, narrow_two(load_two(in + j, width - j) + change_of), width - j);
          }
        }
      }
      const Index length = pair_words(all);
      pack_tile_columns(gradient + deep * width, width, all, width, length, columns);
      multiply(columns, length, width, {active_pairs, pair_stride}, length, panels_of(hidden), down_sum, wide, true);
      pack_tile_columns(values(normed), 2 * narrow_row, all, width, length, columns);
      multiply(columns, length, width, {change_pairs, pair_stride}, length, panels_of(hidden), up_sum, wide, true);
    }

    share_sum_rows(sums, team, team_size, width, wide);
    share_transpose(sums, wide, hidden, width, m.up_gradient);
#pragma omp for schedule(static)
    for (Index i = 0; i < width; ++i) {
      sum_rows(sums + sum_size, team, team_size, i, wide);
      m.scale_gradient[i] = scaled_weight_row(sums + sum_size + i * wide, down + i * hidden, m.scale[i], hidden,
                                              m.down_gradient + i * hidden);
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
