// Gradients of attention by tiles (tile_attention.h): of the rotated queries and keys and of the values.
#pragma once

#include "core/ops/cpu/simd/tile_attention.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

// The gain's gradient of every (batch, query head) goes to gain_sums [B, H].
void attend_backward_tiles(const Common& common, const AttentionBackward& a, Index task, float* gain_sums) {
  const auto h = heads_of<Bf16>(a, task);
  const Index length = h.length, head = h.head, positions = round_up(length, kBlock), out_row = padded(head);
  const Index b = task / a.kv_heads, kv = task % a.kv_heads;
  const Index head_words = pair_words(head), head_rows = round_up(head, kTileRows);
  constexpr Index kPairs = kBlock / 2;  // words of a block's rows
  std::uint32_t *keys = nullptr, *values_of_all = nullptr, *key_columns = nullptr, *rows = nullptr, *outputs = nullptr;
  std::uint32_t *query_panel = nullptr, *output_panel = nullptr, *query_pairs = nullptr, *output_pairs = nullptr;
  Change change{};
  float *key_sum = nullptr, *value_sum = nullptr, *query_sum = nullptr;
  float *blocks = nullptr, *logs = nullptr, *along = nullptr;
  const auto carve = [&](void* block) {
    Carver carver(block);
    keys = carver.take<std::uint32_t>(positions * head_words);
    values_of_all = carver.take<std::uint32_t>(positions * head_words);
    key_columns = carver.take<std::uint32_t>(head_rows * positions / 2);
    rows = carver.take<std::uint32_t>(kBlock * head_words);     // queries
    outputs = carver.take<std::uint32_t>(kBlock * head_words);  // gradients of the attention's output
    query_panel = carver.take<std::uint32_t>(head_words * kBlock);
    output_panel = carver.take<std::uint32_t>(head_words * kBlock);
    query_pairs = carver.take<std::uint32_t>(kPairs * out_row);
    output_pairs = carver.take<std::uint32_t>(kPairs * out_row);
    change.weights = carver.take<std::uint32_t>(kBlock * kPairs);
    change.changes = carver.take<std::uint32_t>(kBlock * kPairs);
    change.pairs = carver.take<std::uint32_t>(kBlock * kPairs);
    blocks = carver.take<float>(4 * kBlock * kBlock);
    query_sum = carver.take<float>(head_rows * kBlock);
    key_sum = carver.take<float>(positions * out_row);
    value_sum = carver.take<float>(positions * out_row);
    logs = carver.take<float>(kBlock);
    along = carver.take<float>(kBlock);
    return carver.used();
  };
  carve(common.scratch(1, carve(nullptr)));
  pack_head_rows(h.key, h.row, length, positions, head, 1, keys);
  pack_head_rows(h.value, h.row, length, positions, head, 1, values_of_all);
  pack_tile_columns(h.key, h.row, length, head, positions / 2, key_columns);
  clear(key_sum, positions * out_row);
  clear(value_sum, positions * out_row);
  Bf16* result = static_cast<Bf16*>(a.rotated_gradient) + (h.query - static_cast<const Bf16*>(a.rotated));
  Bf16* key_result = static_cast<Bf16*>(a.rotated_gradient) + (h.key - static_cast<const Bf16*>(a.rotated));
  Bf16* value_result = static_cast<Bf16*>(a.rotated_gradient) + (h.value - static_cast<const Bf16*>(a.rotated));

  for (Index g = 0; g < h.group; ++g) {
    const Index hq = kv * h.group + g;
    const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(head)), factor = a.gain[hq] * scale;
    float gain_sum = 0;
    for (Index first = 0; first < length; first += kBlock) {
      const Index count = smaller(kBlock, length - first), seen = round_up(first + count, kBlock);
      const Bf16* query = h.query + g * head + first * h.row;
      for (Index r = 0; r < count; ++r) {
        prefetch(result + g * head + (first + r) * h.row, head);
        if (g > 0) continue;
        prefetch(key_result + (first + r) * h.row, head);
        prefetch(value_result + (first + r) * h.row, head);
      }
      const float* log_sum = a.log_sum + (b * a.heads + hq) * length + first;
      for (Index r = 0; r < kBlock; ++r) logs[r] = r < count ? kLog2E * log_sum[r] : 0.0F;
      attended_gradients(a, h, b, hq, first, count, outputs, along, value_sum, out_row);
      pack_key_panels(query, h.row, count, head, query_panel);
      pack_key_panels(values(outputs), 2 * head_words, kBlock, head, output_panel);
      pack_head_rows(query, h.row, count, kBlock, head, factor, rows);
      pack_head_panels(values(rows), 2 * head_words, kBlock, head, kPairs, query_pairs);
      pack_head_panels(values(outputs), 2 * head_words, kBlock, head, kPairs, output_pairs);

      // The next block's scores and gradients are with the tiles while this one's weights are computed.
      const auto scores_of = [&](Index key, float* block) {
        tile_block<2, 2>(keys + key * head_words, head_words, query_panel, head_words, block, kBlock, false);
        tile_block<2, 2>(values_of_all + key * head_words, head_words, output_panel, head_words,
                         block + kBlock * kBlock, kBlock, false);
      };
      float *block = blocks, *next = blocks + 2 * kBlock * kBlock;
      scores_of(0, block);
      GainSums gain;
      for (Index key = 0; key < seen; key += kBlock) {
        if (key + kBlock < seen) scores_of(key + kBlock, next);
        change_block(block, block + kBlock * kBlock, factor * kLog2E, logs, along, key - first, count, change, gain);
        multiply(change.weights, kPairs, kBlock, {output_pairs, kPairs * kBlock}, kPairs, panels_of(head),
                 value_sum + key * out_row, out_row, true);
        multiply(change.changes, kPairs, kBlock, {query_pairs, kPairs * kBlock}, kPairs, panels_of(head),
                 key_sum + key * out_row, out_row, true);
        multiply(key_columns + key / 2, positions / 2, head_rows, {change.pairs, 0}, kPairs, 1, query_sum, kBlock,
                 key > 0);
        float* const used = block;
        block = next;
        next = used;
      }
      gain_sum += gain.gradient() * scale;

      for (Index j = 0; j < head; j += 16) {
        const __mmask16 lanes = lanes_of(head - j);
        for (Index q = 0; q < count; q += 16) {
          Words turned[16];
#pragma GCC unroll 16
          for (int k = 0; k < 16; ++k) turned[k] = reinterpret_cast<Words>(load(query_sum + (j + k) * kBlock + q));
          transpose_words(turned);
          for (Index r = 0; r < smaller(16, count - q); ++r) {
            const Vec scaled = reinterpret_cast<Vec>(turned[r]) * factor;
            _mm256_mask_storeu_epi16(result + g * head + (first + q + r) * h.row + j, lanes,
                                     reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(scaled))));
          }
        }
      }
    }
    gain_sums[b * a.heads + hq] = gain_sum;
  }

  for (Index t = 0; t < length; ++t) {
    for (Index j = 0; j < head; j += 32) {
      store_two(key_result + t * h.row + j, narrow_two(load_two(key_sum + t * out_row + j)), head - j);
      store_two(value_result + t * h.row + j, narrow_two(load_two(value_sum + t * out_row + j)), head - j);
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
