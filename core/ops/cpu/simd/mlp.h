// The MLP half of a block, tile by tile: norm, product, squared leaky ReLU, product, scale, residual. A tile of rows stays
// in the thread's cache from input to output; backward computes the norm and the activation again from what forward kept.
#pragma once

#include <omp.h>

#include "core/ops/cpu/kernels.h"
#include "core/ops/cpu/simd/rows.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

template <class T>
void mlp_forward_typed(const Common& common, const MlpForward& m) {
  using O = Operand<T>;
  using W = Word<O>;
  const Index width = m.width, hidden = m.hidden, rows = m.rows;
  const auto *x = static_cast<const T*>(m.x), *up = static_cast<const T*>(m.up), *down = static_cast<const T*>(m.down);
  auto *out = static_cast<T*>(m.out), *before = static_cast<T*>(m.before);
  auto* shared = static_cast<W*>(common.scratch(0, (panel_words<O>(width, hidden) + panel_words<O>(hidden, width)) * 4));

  constexpr bool kInPlace = sizeof(O) == sizeof(float);  // the activated tile overwrites its input
  const Index normed_row = operand_row<O>(width), wide_row = padded(hidden);
  const Index active_row = kInPlace ? wide_row : operand_row<O>(hidden);

#pragma omp parallel num_threads(common.threads)
  {
    const auto up_panels = pack_transposed<O>(up, width, hidden, shared);
    const auto down_panels = pack_transposed<O>(down, hidden, width, shared + panel_words<O>(width, hidden));
    O *normed = nullptr, *active = nullptr;
    float *wide = nullptr, *narrow_tile = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      normed = carver.take<O>(kTile * normed_row);
      wide = carver.take<float>(kTile * wide_row);
      active = kInPlace ? reinterpret_cast<O*>(wide) : carver.take<O>(kTile * active_row);
      narrow_tile = carver.take<float>(kTile * padded(width));
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));

#pragma omp for schedule(dynamic)
    for (Index first = 0; first < rows; first += kTile) {
      const Index count = smaller(kTile, rows - first);
      for (Index r = 0; r < count; ++r) {
        const T* row = x + (first + r) * width;
        const float inverse = inverse_rms(sum_of_squares(row, width), width);
        if (m.norm != nullptr) m.norm[first + r] = inverse;
        scale_row(row, inverse, width, normed + r * normed_row);
      }
      product(left(normed, normed_row), count, up_panels, words<O>(width), panels_of(hidden), wide, wide_row, false);
      const float slope = m.slope;
      for (Index r = 0; r < count; ++r) {
        const float* in = wide + r * wide_row;
        O* activated = active + r * active_row;
        if (before != nullptr) {
          T* kept = before + (first + r) * hidden;
#pragma omp simd
          for (Index j = 0; j < hidden; ++j) narrow(in[j], kept[j]);
        }
#pragma omp simd
        for (Index j = 0; j < hidden; ++j) {
          const float value = rounded<T>(in[j]), leaky = value > 0 ? value : value * slope;
          operand<T>(leaky * leaky, activated[j]);
        }
        pad_operand(activated, hidden);
      }
      product(left(active, active_row), count, down_panels, words<O>(hidden), panels_of(width), narrow_tile, padded(width), false);
      for (Index r = 0; r < count; ++r) {
        add_scaled_row(x + (first + r) * width, m.scale, narrow_tile + r * padded(width), width, out + (first + r) * width);
      }
    }
  }
}

template <class T>
void mlp_backward_typed(const Common& common, const MlpBackward& m) {
  using O = Operand<T>;
  using W = Word<O>;
  const Index width = m.width, hidden = m.hidden, rows = m.rows;
  const auto *x = static_cast<const T*>(m.x), *up = static_cast<const T*>(m.up), *down = static_cast<const T*>(m.down);
  const auto *before = static_cast<const T*>(m.before), *gradient = static_cast<const T*>(m.gradient);
  auto* x_gradient = static_cast<T*>(m.x_gradient);
  const Index up_size = hidden * padded(width), down_size = width * padded(hidden), team_size = up_size + down_size;
  W *down_packed = nullptr, *up_packed = nullptr;
  float* sums = nullptr;  // a thread: weight gradients of up [M, D] and of down before its scale [D, M]
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    down_packed = carver.take<W>(panel_words<O>(width, hidden));
    up_packed = carver.take<W>(panel_words<O>(hidden, width));
    sums = carver.take<float>(common.threads * team_size);
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));

  const Index wide_row = padded(hidden), back_row = padded(width), scaled_row = operand_row<O>(width);
  const Index change_row = operand_row<O>(hidden);
#pragma omp parallel num_threads(common.threads)
  {
    const Index team = omp_get_num_threads();
    float* up_sum = sums + omp_get_thread_num() * team_size;
    float* down_sum = up_sum + up_size;
    clear(up_sum, team_size);
    const auto down_panels = pack_rows<O>(down, width, hidden, down_packed);
    const auto up_panels = pack_rows<O>(up, hidden, width, up_packed);

    O *scaled = nullptr, *change = nullptr;
    float *wide = nullptr, *active = nullptr, *back = nullptr, *normed = nullptr;
    W *columns = nullptr, *panels = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      scaled = carver.take<O>(kTile * scaled_row);         // gradient * scale
      wide = carver.take<float>(kTile * wide_row);         // gradient of the activated tile
      active = carver.take<float>(kTile * wide_row);       // the activated tile, computed again
      change = carver.take<O>(kTile * change_row);         // gradient of the activation's input
      back = carver.take<float>(kTile * back_row);         // gradient of the normed rows
      normed = carver.take<float>(kTile * back_row);
      columns = carver.take<W>(column_words<O>(kTile, width > hidden ? width : hidden));
      panels = carver.take<W>(panel_words<O>(kTile, width > hidden ? width : hidden));
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));

#pragma omp for schedule(static)
    for (Index first = 0; first < rows; first += kTile) {
      const Index count = smaller(kTile, rows - first);
      const T* tile_gradient = gradient + first * width;
      for (Index r = 0; r < count; ++r) {
        scale_columns(tile_gradient + r * width, m.scale, width, scaled + r * scaled_row);
      }
      product(left(scaled, scaled_row), count, down_panels, words<O>(width), panels_of(hidden), wide, wide_row, false);
      const float slope = m.slope;
      for (Index r = 0; r < count; ++r) {
        const T* kept = before + (first + r) * hidden;
        float *from = wide + r * wide_row, *activated = active + r * wide_row;
        O* changed = change + r * change_row;
#pragma omp simd
        for (Index j = 0; j < hidden; ++j) {
          const float value = widen(kept[j]), side = value > 0 ? 1.0F : slope, leaky = value * side;
          activated[j] = rounded<T>(leaky * leaky);
          operand<T>(from[j] * (2.0F * leaky * side), changed[j]);
        }
        pad_operand(changed, hidden);
      }
      // down: G += gradient^T activated (its scale comes at the end).
      pack_columns<O>(tile_gradient, width, count, width, columns);
      product_packed(columns, width, pack_tile<O>(active, wide_row, count, hidden, panels), words<O>(count), panels_of(hidden),
                     down_sum, padded(hidden), true);
      product(left(change, change_row), count, up_panels, words<O>(hidden), panels_of(width), back, back_row, false);
      for (Index r = 0; r < count; ++r) {
        scale_row(x + (first + r) * width, m.norm[first + r], width, normed + r * back_row);
      }
      pack_columns<O>(change, change_row, count, hidden, columns);
      product_packed(columns, hidden, pack_tile<O>(normed, back_row, count, width, panels), words<O>(count), panels_of(width),
                     up_sum, padded(width), true);
      for (Index r = 0; r < count; ++r) {
        float* row = back + r * back_row;
        norm_backward_row(row, normed + r * back_row, m.norm[first + r], width);
        const T* in = tile_gradient + r * width;
        T* result = x_gradient + (first + r) * width;
#pragma omp simd
        for (Index j = 0; j < width; ++j) narrow(widen(in[j]) + row[j], result[j]);
      }
    }

#pragma omp for schedule(static)
    for (Index i = 0; i < hidden; ++i) {
      sum_rows(sums, team, team_size, i, padded(width));
      const float* from = sums + i * padded(width);
      float* to = m.up_gradient + i * width;
#pragma omp simd
      for (Index j = 0; j < width; ++j) to[j] = from[j];
    }
#pragma omp for schedule(static)
    for (Index i = 0; i < width; ++i) {
      // The scale's gradient needs no output of forward: sum over rows of gradient * (W a) = W . (gradient^T a).
      sum_rows(sums + up_size, team, team_size, i, padded(hidden));
      const float* from = sums + up_size + i * padded(hidden);
      const T* weight = down + i * hidden;
      float *to = m.down_gradient + i * hidden, factor = m.scale[i], sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Index j = 0; j < hidden; ++j) {
        sum += from[j] * widen(weight[j]);
        to[j] = from[j] * factor;
      }
      m.scale_gradient[i] = sum;
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
