// Output map and loss in bfloat16 by tiles: as in head.h. The logits of a tile of rows become tanh of them in the
// product's blocks.
#pragma once

#include <omp.h>

#include "core/ops/cpu/simd/head.h"
#include "core/ops/cpu/simd/tile_mlp.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

// 1 - 2 / (e^2x + 1): within 2e-7, which is far below what a bfloat16 product leaves.
inline Vec tanh_two(Vec x) { return 1.0F - 2.0F * reciprocal(exp2_two(x * (2 * kLog2E)) + 1.0F); }

template <>
void head_typed<Bf16>(const Common& common, const Head& h) {
  const Index width = h.width, vocabulary = h.vocabulary, rows = h.rows;
  const bool back = h.x_gradient != nullptr;
  const auto *x = static_cast<const Bf16*>(h.x), *embedding = static_cast<const Bf16*>(h.embedding);
  const Index wide = padded(vocabulary), sum_size = round_up(width, kTileRows) * wide;  // a thread's sums [D, V]
  std::uint32_t *forward_packed = nullptr, *backward_packed = nullptr;
  float* sums = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    forward_packed = carver.take<std::uint32_t>(panels_words(width, vocabulary));
    if (back) {
      backward_packed = carver.take<std::uint32_t>(panels_words(vocabulary, width));
      sums = carver.take<float>(common.threads * sum_size);
    }
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index in_row = pair_words(width), change_row = pair_words(vocabulary);
  const Index back_row = padded(width), pair_stride = kDeep / 2 * kBlock;
  const float inverse_cap = 1.0F / h.cap, slope = h.cap * kLog2E;  // e^(cap t) = 2^(slope t)

#pragma omp parallel num_threads(common.threads)
  {
    const Tiles tiles;
    const Index team = omp_get_num_threads();
    float* sum_of_team = sums + (back ? omp_get_thread_num() * sum_size : 0);
    if (back) clear(sum_of_team, sum_size);
    const auto panels = share_transposed_panels(embedding, width, vocabulary, forward_packed);
    Panels back_panels{nullptr, 0};
    if (back) back_panels = share_row_panels(embedding, vocabulary, width, backward_packed);
    float *blocks = nullptr, *capped = nullptr, *tops = nullptr;
    float *inverses = nullptr, *factors = nullptr, *changed = nullptr;
    std::uint32_t *operands = nullptr, *change = nullptr, *columns = nullptr, *pairs = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      blocks = carver.take<float>(2 * kBlock * kBlock);
      operands = carver.take<std::uint32_t>(kDeep * in_row);
      capped = carver.take<float>(kBlock * wide);  // tanh(z / cap)
      tops = carver.take<float>(kBlock * 16);      // the largest of them, lane by lane
      inverses = carver.take<float>(kBlock);
      factors = carver.take<float>(kBlock);
      if (back) {
        change = carver.take<std::uint32_t>(kBlock * change_row);
        changed = carver.take<float>(kBlock * back_row);
        columns = carver.take<std::uint32_t>(round_up(width, kTileRows) * kDeep / 2);
        pairs = carver.take<std::uint32_t>(panels_of(vocabulary) * pair_stride);
      }
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));

#pragma omp for schedule(static)
    for (Index deep = 0; deep < rows; deep += kDeep) {
      const Index all = smaller(kDeep, rows - deep);
      for (Index part = 0; part < all; part += kBlock) {
        const Index first = deep + part, count = smaller(kBlock, all - part);
        std::uint32_t* operand = operands + part * in_row;
        for (Index r = 0; r < count; ++r) {
          const Bf16* row = x + (first + r) * width;
          inverses[r] = h.normed ? inverse_rms(sum_of(squares(row, width)), width) : 1.0F;
          scale_row_two(row, inverses[r], width, values(operand + r * in_row));
        }
        for (Index r = 0; r < count; ++r) store(tops + r * 16, same(-1));
        multiply_blocks(operand, in_row, count, panels, in_row, panels_of(vocabulary), blocks,
                        [&](Index, Index p, const float* block) {
          const Index left = vocabulary - p * kBlock;
          for (Index r = 0; r < count; ++r) {
            const Two z = load_two(block + r * kBlock) * inverse_cap;
            Two t{tanh_two(z.low), tanh_two(z.high)};
            if (left < kBlock) t = chosen(values_of(left), t, kNothing);  // beyond the vocabulary: in no sum
            store_two(capped + r * wide + p * kBlock, t);
            store(tops + r * 16, largest(largest(t.low, t.high), load(tops + r * 16)));
          }
        });
        for (Index r = 0; r < count; ++r) {
          const Index n = first + r, target = h.targets[n];
          float* row = capped + r * wide;
          const float top = largest_of(load(tops + r * 16)), at_target = row[target];
          Two sum{};
          for (Index j = 0; j < wide; j += 32) {
            const Two t = load_two(row + j);
            const Two e{exp2_two((t.low - top) * slope), exp2_two((t.high - top) * slope)};
            sum = sum + e;
            if (back) store_two(row + j, e - e * t * t);  // d/dz of cap tanh(z / cap), e times
          }
          const float total = sum_of(sum.low + sum.high);
          if (h.nats != nullptr) h.nats[n] = h.cap * (top - at_target) + __builtin_logf(total);
          if (!back) continue;
          const float weight = h.row_gradient != nullptr ? h.row_gradient[n] : h.gradient;
          // d nats / d z = (probability - [target]) (1 - tanh^2)
          row[target] -= total * (1.0F - at_target * at_target);
          factors[r] = weight / total;
        }
        if (!back) continue;
        Bf16* const out = values(change);
        for (Index p = 0; p < panels_of(vocabulary); ++p) {
          std::uint32_t* to = pairs + p * pair_stride + part / 2 * kBlock;
          for (Index r = 0; r < kBlock; r += 2, to += kBlock) {
            Two rows_of[2] = {};
            for (Index k = 0; k < smaller(2, count - r); ++k) {
              rows_of[k] = load_two(capped + (r + k) * wide + p * kBlock) * factors[r + k];
              store_two(out + (r + k) * 2 * change_row + p * kBlock, narrow_two(rows_of[k]));
            }
            store_words(to, pair_rows(rows_of[0].low, rows_of[1].low));
            store_words(to + 16, pair_rows(rows_of[0].high, rows_of[1].high));
          }
        }
        multiply(change, change_row, count, back_panels, change_row, panels_of(width), changed, back_row, false);
        for (Index r = 0; r < count; ++r) {
          const float* row = changed + r * back_row;
          const Bf16* normal = values(operand + r * in_row);
          Two along{};
          if (h.normed) {
            for (Index j = 0; j < width; j += 32) along = along + load_two(row + j) * load_two(normal + j);
          }
          const float mean = sum_of(along.low + along.high) / static_cast<float>(width);
          Bf16* to = static_cast<Bf16*>(h.x_gradient) + (first + r) * width;
          for (Index j = 0; j < width; j += 32) {
            store_two(to + j, narrow_two((load_two(row + j) - load_two(normal + j) * mean) * inverses[r]), width - j);
          }
        }
      }
      if (!back) continue;
      const Index length = pair_words(all);
      pack_tile_columns(values(operands), 2 * in_row, all, width, length, columns);
      multiply(columns, length, width, {pairs, pair_stride}, length, panels_of(vocabulary), sum_of_team, wide, true);
    }
    if (back) {
      share_sum_rows(sums, team, sum_size, width, wide);
      share_transpose(sums, wide, vocabulary, width, h.embedding_gradient);
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
