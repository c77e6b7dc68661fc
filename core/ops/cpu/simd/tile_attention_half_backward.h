// Gradients of the attention half of a block in bfloat16 by tiles (tile_attention_half.h).
#pragma once

#include "core/ops/cpu/simd/tile_attention_half.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

template <>
void attention_backward_typed<Bf16>(const Common& common, const AttentionBackward& a) {
  const Index width = a.width, head = a.head, half = head / 2, inner = a.heads * head, panel = padded(width);
  const Index all = (a.heads + 2 * a.kv_heads) * head, rows = a.batch * a.length, normed_heads = a.heads + a.kv_heads;
  const auto *x = static_cast<const Bf16*>(a.x), *x0 = static_cast<const Bf16*>(a.x0);
  const auto* gradient = static_cast<const Bf16*>(a.gradient);
  const auto *rotated = static_cast<const Bf16*>(a.rotated), *attended = static_cast<const Bf16*>(a.attended);
  auto* rotated_gradient = static_cast<Bf16*>(a.rotated_gradient);
  auto* attended_gradient = static_cast<Bf16*>(a.attended_gradient);

  // A thread's sums: of the maps for queries, keys and values [(H + 2 K) h, D], of the output before its scale
  // [D, H h], of the mix.
  const Index inner_panel = padded(inner), qkv_size = round_up(all, kTileRows) * panel;
  const Index output_size = round_up(width, kTileRows) * inner_panel;
  const Index team_size = qkv_size + output_size + 2 * panel;
  std::uint32_t *qkv_packed = nullptr, *output_packed = nullptr;
  float *sums = nullptr, *gain_sums = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    qkv_packed = carver.take<std::uint32_t>(panels_words(all, width));
    output_packed = carver.take<std::uint32_t>(panels_words(width, inner));
    gain_sums = carver.take<float>(a.batch * a.heads);
    sums = carver.take<float>(common.threads * team_size);
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index in_row = pair_words(width), all_row = pair_words(all);
  const Index widest = all > width ? all : width, pairs = kDeep / 2;

#pragma omp parallel num_threads(common.threads)
  {
    const Tiles tiles;
    const Index team = omp_get_num_threads();
    float* qkv_sum = sums + omp_get_thread_num() * team_size;
    float *output_sum = qkv_sum + qkv_size, *mix_sum = output_sum + output_size;
    clear(qkv_sum, team_size);
    const auto output_panels = share_row_panels(static_cast<const Bf16*>(a.output), width, inner, output_packed);
    const auto qkv_panels = share_row_panels(static_cast<const Bf16*>(a.qkv), all, width, qkv_packed);
    float *mix = nullptr, *scale = nullptr, *blocks = nullptr, *back = nullptr;
    std::uint32_t *operands = nullptr, *normed = nullptr, *columns = nullptr, *panels = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      mix = carver.take<float>(2 * panel);
      scale = carver.take<float>(panel);
      blocks = carver.take<float>(2 * kBlock * kBlock);
      back = carver.take<float>(kTall * panel);
      operands = carver.take<std::uint32_t>(kDeep * (all_row > in_row ? all_row : in_row));
      normed = carver.take<std::uint32_t>(kDeep * in_row);
      columns = carver.take<std::uint32_t>(round_up(widest, kTileRows) * pairs);
      panels = carver.take<std::uint32_t>(pairs * (panel > inner_panel ? panel : inner_panel));
      return carver.used();
    };
    const auto make_room = [&] {
      carve(common.scratch(1, carve(nullptr)));
      pad_copy(a.mix, width, mix);
      pad_copy(a.mix + width, width, mix + panel);
      pad_copy(a.scale, width, scale);
    };
    make_room();

    // Through the output product.
#pragma omp for schedule(static)
    for (Index deep = 0; deep < rows; deep += kDeep) {
      const Index total = smaller(kDeep, rows - deep), length = pair_words(total);
      for (Index first = deep; first < deep + total; first += kTall) {
        const Index count = smaller(kTall, deep + total - first);
        for (Index r = 0; r < count; ++r) {
          const Bf16* row = gradient + (first + r) * width;
          Bf16* to = values(operands + r * in_row);
          prefetch(attended_gradient + (first + r) * inner, inner);
          for (Index j = 0; j < width; j += 32) {
            store_two(to + j, narrow_two(load_two(row + j, width - j) * load_two(scale + j)));
          }
        }
        multiply_blocks(operands, in_row, count, output_panels, in_row, panels_of(inner), blocks,
                        [&](Index i, Index p, const float* block) {
          for (Index r = 0; r < smaller(kBlock, count - i); ++r) {
            Bf16* to = attended_gradient + (first + i + r) * inner + p * kBlock;
            store_two(to, narrow_two(load_two(block + r * kBlock)), inner - p * kBlock);
          }
        });
      }
      pack_tile_columns(gradient + deep * width, width, total, width, length, columns);
      pack_head_panels(attended + deep * inner, inner, total, inner, length, panels);
      multiply(columns, length, width, {panels, length * kBlock}, length, panels_of(inner), output_sum, inner_panel,
               true);
    }

#pragma omp for schedule(dynamic)
    for (Index task = 0; task < a.batch * a.kv_heads; ++task) attend_backward_tiles(common, a, task, gain_sums);
    make_room();  // attention used the thread's memory

    // Through rotation, norms, the product for queries, keys and values, and the mix.
#pragma omp for schedule(static)
    for (Index deep = 0; deep < rows; deep += kDeep) {
      const Index total = smaller(kDeep, rows - deep), length = pair_words(total);
      for (Index tall = 0; tall < total; tall += kTall) {
        const Index first = deep + tall, count = smaller(kTall, total - tall);
        for (Index r = 0; r < count; ++r) {
          const Index n = first + r, t = n % a.length;
          const Bf16 *of = rotated_gradient + n * all, *in = x + n * width, *in0 = x0 + n * width;
          Bf16 *to = values(operands + (tall + r) * all_row), *normal = values(normed + (tall + r) * in_row);
          for (Index i = 0; i < normed_heads; ++i) {
            unrotate_head(of + i * head, rotated + n * all + i * head, a.head_norm[n * normed_heads + i],
                          a.cos + t * half, a.sin + t * half, half, to + i * head);
          }
          for (Index j = normed_heads * head; j < 2 * all_row; j += 16) {
            const __mmask16 lanes = lanes_of(all - j);
            store_lanes(to + j, load_lanes(of + j, lanes), lanes_of(2 * all_row - j));
          }
          for (Index j = 0; j < width; j += 32) {
            store_two(normal + j, narrow_two(mixed_two(in, in0, mix, panel, j, width - j) * a.norm[n]));
          }
        }
        multiply(operands + tall * all_row, all_row, count, qkv_panels, all_row, panels_of(width), back, panel, false);
        for (Index r = 0; r < count; ++r) {
          const Index n = first + r;
          const float* change = back + r * panel;
          const Bf16* normal = values(normed + (tall + r) * in_row);
          Two along{};
          for (Index j = 0; j < width; j += 32) along = along + load_two(change + j) * load_two(normal + j);
          const float inverse = a.norm[n], mean = sum_of(along.low + along.high) / static_cast<float>(width);
          Bf16 *to = static_cast<Bf16*>(a.x_gradient) + n * width, *to0 = static_cast<Bf16*>(a.x0_gradient) + n * width;
          for (Index j = 0; j < width; j += 32) {
            const Index left = width - j;
            const Two through = (load_two(change + j) - load_two(normal + j) * mean) * inverse;
            const Two of = load_two(gradient + n * width + j, left) + through;
            store_two(mix_sum + j, load_two(mix_sum + j) + of * load_two(x + n * width + j, left));
            store_two(mix_sum + panel + j, load_two(mix_sum + panel + j) + of * load_two(x0 + n * width + j, left));
            store_two(to + j, narrow_two(of * load_two(mix + j)), left);
            store_two(to0 + j, narrow_two(of * load_two(mix + panel + j)), left);
          }
        }
      }
      pack_tile_columns(values(operands), 2 * all_row, total, all, length, columns);
      pack_head_panels(values(normed), 2 * in_row, total, width, length, panels);
      multiply(columns, length, all, {panels, length * kBlock}, length, panels_of(width), qkv_sum, panel, true);
    }

    const Index inner_queries = a.heads * head, inner_keys = a.kv_heads * head;
#pragma omp for schedule(static)
    for (Index i = 0; i < all; ++i) {
      sum_rows(sums, team, team_size, i, panel);
      const float* from = sums + i * panel;
      float* to = i < inner_queries                ? a.query_gradient + i * width
                  : i < inner_queries + inner_keys ? a.key_gradient + (i - inner_queries) * width
                                                   : a.value_gradient + (i - inner_queries - inner_keys) * width;
      __builtin_memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
    }
#pragma omp for schedule(static)
    for (Index i = 0; i < width; ++i) {
      sum_rows(sums + qkv_size, team, team_size, i, inner_panel);
      const Bf16* weight = static_cast<const Bf16*>(a.output) + i * inner;
      a.scale_gradient[i] = scaled_weight_row(sums + qkv_size + i * inner_panel, weight, a.scale[i], inner,
                                              a.output_gradient + i * inner);
    }
#pragma omp single
    {
      float* total = sums + qkv_size + output_size;
      sum_rows(total, team, team_size, 0, 2 * panel);
      for (Index j = 0; j < 2 * width; ++j) a.mix_gradient[j] = total[j < width ? j : panel + j - width];
      for (Index i = 0; i < a.heads; ++i) {
        float sum = 0;
        for (Index b = 0; b < a.batch; ++b) sum += gain_sums[b * a.heads + i];
        a.gain_gradient[i] = sum;
      }
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
