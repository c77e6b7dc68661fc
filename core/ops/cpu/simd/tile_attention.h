// Causal attention by tiles, in bfloat16 with float32 sums: of one batch element and key/value head with its group of
// query heads, as in attention.h. Forward has the scores of 32 queries against all their keys in the cache; backward
// has 32 keys against 32 queries, keys first, so that its weights are an operand as they are.
#pragma once

#include "core/ops/cpu/simd/attention.h"
#include "core/ops/cpu/simd/tile_rows.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

// Rows of a head, factor times, as rows of A: zeros beyond the head and beyond `count` rows.
inline void pack_head_rows(const Bf16* source, Index row, Index count, Index rows, Index head, float factor,
                           std::uint32_t* packed) {
  const Index length = pair_words(head);
  for (Index r = 0; r < rows; ++r) {
    prefetch(source + (r + rows) * row, head);  // of the next rows
    for (Index j = 0; j < head; j += 32) {
      const Two value = r < count ? load_two(source + r * row + j, head - j) * factor : Two{};
      store_two(values(packed + r * length) + j, narrow_two(value));
    }
  }
}
inline void pack_head_panels(const Bf16* source, Index row, Index count, Index head, Index length,
                             std::uint32_t* packed) {
  for (Index j = 0; j < head; j += kBlock) {
    pack_tile_panel(source + j, row, count, head - j, length, packed + j / kBlock * length * kBlock);
  }
}
inline void pack_key_panels(const Bf16* source, Index row, Index count, Index head, std::uint32_t* packed) {
  const Index length = pair_words(head);
  for (Index first = 0; first < count; first += kBlock) {
    pack_tile_transposed_panel(source + first * row, row, head, count - first, length,
                               packed + first / kBlock * length * kBlock);
  }
}

// Powers of 2 of `valid` scores, factor times and less `top`; zeros up to `end`. Returns their sums, lane by lane.
inline Vec weigh_row(const float* scores, float factor, float top, Index valid, Index end, Bf16* out) {
  const Index whole = valid / 32 * 32;
  Two sum{};
  const auto weigh = [&](Two x, Bf16* to) {
    const Two weight{exp2_two(x.low), exp2_two(x.high)};
    sum = sum + weight;
    store_two(to, narrow_two(weight));
  };
  const auto exponent = [&](Index j) {
    const Two x = load_two(scores + j);
    return Two{x.low * factor - top, x.high * factor - top};
  };
  for (Index j = 0; j < whole; j += 32) weigh(exponent(j), out + j);
  if (whole < valid) weigh(chosen(values_of(valid - whole), exponent(whole), kNothing), out + whole);
  for (Index j = round_up(valid, 32); j < end; j += 32) store_two(out + j, Words{});
  return sum.low + sum.high;
}
// The largest of `valid` scores, factor times.
inline float top_of_row(const float* scores, float factor, Index valid) {
  Two top{same(kNothing), same(kNothing)};
  for (Index j = 0; j < valid; j += 32) {
    const Two x = chosen(values_of(valid - j), load_two(scores + j) * factor, kNothing);
    top = {largest(x.low, top.low), largest(x.high, top.high)};
  }
  return largest_of(largest(top.low, top.high));
}
// Attended values of one position, from their sum over weights: without what lies along the value, if that is wanted.
inline void finish_attended(const Attention& a, const float* row, float inverse, const Bf16* value, Bf16* out,
                            float* removed) {
  const Index head = a.head;
  if (!a.exclude) {
    for (Index j = 0; j < head; j += 32) store_two(out + j, narrow_two(load_two(row + j) * inverse), head - j);
    return;
  }
  Two along{}, square{};
  for (Index j = 0; j < head; j += 32) {
    const Two v = load_two(value + j, head - j);
    along = along + load_two(row + j) * inverse * v;
    square = square + v * v;
  }
  const float unit = 1.0F / larger(__builtin_sqrtf(sum_of(square.low + square.high)), 1e-12F);
  *removed = sum_of(along.low + along.high) * unit;
  const float take = *removed * unit;
  for (Index j = 0; j < head; j += 32) {
    store_two(out + j, narrow_two(load_two(row + j) * inverse - load_two(value + j, head - j) * take), head - j);
  }
}

void attend_tiles(const Common& common, const Attention& a, Index task) {
  const auto h = heads_of<Bf16>(a, task);
  const Index length = h.length, head = h.head, positions = round_up(length, kBlock), out_row = padded(head);
  const Index b = task / a.kv_heads, kv = task % a.kv_heads, width = a.heads * head, head_words = pair_words(head);
  std::uint32_t *keys = nullptr, *values_of_all = nullptr, *queries = nullptr, *weights = nullptr;
  float *scores = nullptr, *sums = nullptr, *totals = nullptr;
  const auto carve = [&](void* block) {
    Carver carver(block);
    keys = carver.take<std::uint32_t>(panels_words(head, length));
    values_of_all = carver.take<std::uint32_t>(panels_words(length, head));
    queries = carver.take<std::uint32_t>(kBlock * head_words);
    weights = carver.take<std::uint32_t>(2 * kBlock * positions / 2);
    scores = carver.take<float>(kBlock * positions);
    sums = carver.take<float>(kBlock * out_row);
    totals = carver.take<float>(kBlock * 16);
    return carver.used();
  };
  carve(common.scratch(1, carve(nullptr)));
  pack_key_panels(h.key, h.row, length, head, keys);
  pack_head_panels(h.value, h.row, length, head, positions / 2, values_of_all);

  // One block of queries is with the tiles for its values while the next one's weights are computed.
  struct Block {
    Index hq, first, count, seen;
    float inverse[kBlock];
    std::uint32_t* weights;
  } pair[2];
  auto* const out = static_cast<Bf16*>(a.attended);
  const auto attended = [&](const Block& block) {
    for (Index r = 0; r < block.count; ++r) {
      prefetch(out + (b * length + block.first + r) * width + block.hq * head, head);
    }
    multiply(block.weights, positions / 2, block.count, {values_of_all, positions / 2 * kBlock}, block.seen / 2,
             panels_of(head), sums, out_row, false);
  };
  const auto finish = [&](const Block& block) {
    for (Index r = 0; r < block.count; ++r) {
      const Index t = block.first + r;
      finish_attended(a, sums + r * out_row, block.inverse[r], h.value + t * h.row,
                      out + (b * length + t) * width + block.hq * head,
                      a.exclude ? a.removed + (b * a.heads + block.hq) * length + t : nullptr);
    }
  };
  const Index blocks = (length - a.from + kBlock - 1) / kBlock;
  for (Index n = 0; n < h.group * blocks; ++n) {
    const Index g = n / blocks, first = a.from + n % blocks * kBlock, hq = kv * h.group + g;
    const Index count = smaller(kBlock, length - first);
    Block &block = pair[n % 2], &last = pair[1 - n % 2];
    block.hq = hq, block.first = first, block.count = count, block.seen = round_up(first + count, kBlock);
    block.weights = weights + n % 2 * kBlock * positions / 2;
    pack_head_rows(h.query + g * head + first * h.row, h.row, count, kBlock, head, 1, queries);
    multiply(queries, head_words, count, {keys, head_words * kBlock}, head_words, block.seen / kBlock, scores,
             positions, false);
    if (n > 0) attended(last);
    // Queries and keys are normed: no score exceeds the head's size. While 2 to the power of that is nothing special,
    // no weight needs the largest score taken away.
    const float factor = kLog2E * a.gain[hq] / __builtin_sqrtf(static_cast<float>(head));
    const bool bounded = (factor < 0 ? -factor : factor) * static_cast<float>(head) < 60.0F;
    float tops[kBlock] = {};
    for (Index r = 0; r < count; ++r) {
      const float* row = scores + r * positions;
      if (!bounded) tops[r] = top_of_row(row, factor, first + r + 1);
      store(totals + 16 * r, weigh_row(row, factor, tops[r], first + r + 1, block.seen,
                                       values(block.weights + r * positions / 2)));
    }
    for (Index r = 0; r < count; r += 16) {
      const Vec total = sums_of(totals + 16 * r);
      store(block.inverse + r, 1.0F / total);
      const Vec log_sum = load(tops + r) * kLn2 + log_two(total);
      _mm512_mask_storeu_ps(a.log_sum + (b * a.heads + hq) * length + first + r, lanes_of(count - r),
                            reinterpret_cast<__m512>(log_sum));
    }
    if (n > 0) finish(last);
  }
  const Block& last = pair[(h.group * blocks - 1) % 2];
  attended(last);
  finish(last);
}

// Gradient of the attention's output of 32 positions, as rows of A with zeros where there are none, and its product
// with that output (`along`). With exclusion, the part of the values' gradient that does not come through the weights.
inline void attended_gradients(const AttentionBackward& a, const Heads<Bf16>& h, Index b, Index hq, Index first,
                               Index count, std::uint32_t* outputs, float* along, float* value_sum,
                               Index out_row) {
  const Index head = h.head, width = a.heads * head;
  for (Index r = 0; r < kBlock; ++r) {
    Bf16* out = values(outputs + r * pair_words(head));
    along[r] = 0;
    if (r >= count) {
      for (Index j = 0; j < head; j += 32) store_two(out + j, Words{});
      continue;
    }
    const Index t = first + r, at = (b * h.length + t) * width + hq * head;
    const Bf16* gradient = static_cast<const Bf16*>(a.attended_gradient) + at;
    const Bf16* kept = static_cast<const Bf16*>(a.attended) + at;
    prefetch(gradient + kBlock * width, head);  // of the next positions
    prefetch(kept + kBlock * width, head);
    Two sum{};
    if (!a.exclude) {
      for (Index j = 0; j < head; j += 32) {
        const Two dz = load_two(gradient + j, head - j);
        store_two(out + j, narrow_two(dz));
        sum = sum + dz * load_two(kept + j, head - j);
      }
      along[r] = sum_of(sum.low + sum.high);
      continue;
    }
    const Bf16* value = h.value + t * h.row;
    Two turn{}, square{};
    for (Index j = 0; j < head; j += 32) {
      const Two v = load_two(value + j, head - j);
      turn = turn + load_two(gradient + j, head - j) * v;
      square = square + v * v;
    }
    const float inverse = 1.0F / larger(__builtin_sqrtf(sum_of(square.low + square.high)), 1e-12F);
    const float removed = a.removed[(b * a.heads + hq) * h.length + t], turned = sum_of(turn.low + turn.high) * inverse;
    // u = v / |v|: du = -(removed dz + turned y), y = z + removed u; dv = (du - (du . u) u) / |v|. Below the clamp of
    // |v| the division is by a constant and nothing is projected away.
    const float across = inverse >= 1e12F ? -removed * turned : removed * turned;
    float* value_out = value_sum + t * out_row;
    for (Index j = 0; j < head; j += 32) {
      const Two unit = load_two(value + j, head - j) * inverse;
      const Two z = load_two(kept + j, head - j), dz = load_two(gradient + j, head - j);
      store_two(value_out + j, load_two(value_out + j) - (dz * removed + z * turned - unit * across) * inverse);
      const Two of_out = dz - unit * turned;
      store_two(out + j, narrow_two(of_out));
      sum = sum + of_out * (z + unit * removed);
    }
    along[r] = sum_of(sum.low + sum.high);
  }
}

// Of 32 keys against 32 queries: weights from scores and log sums, gradients of scores from those of the weights. As
// rows of A, and the gradients also as pairs of rows. `behind`: how many queries lie before the first key; those see
// none of the keys.
struct Change {
  std::uint32_t *weights, *changes, *pairs;
};
// What the gain's gradient needs of each query: sums over its keys of gradients, of gradients times scores and of
// weights times scores. The first is zero but for rounding, and the gain's gradient is taken without that.
struct GainSums {
  Two changes{}, along{}, scores{};
  float gradient() const {
    const Two sum = along - changes * scores;
    return sum_of(sum.low + sum.high);
  }
};
inline void change_block(const float* scores, const float* gradients, float factor, const float* log_sum,
                         const float* along, Index behind, Index count, Change out, GainSums& gain) {
  const Two logs = load_two(log_sum), offsets = load_two(along);
  const __mmask32 there = values_of(count);
  GainSums sums = gain;
  for (Index r = 0; r < kBlock; r += 2) {
    Two change[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      const Index at = (r + k) * kBlock;
      const __mmask32 sees = there & ~values_of(behind + r + k);
      const Two score = load_two(scores + at), exponent = score * factor - logs;
      const auto weight = [&](Vec x, __mmask16 lanes) {
        return reinterpret_cast<Vec>(_mm512_maskz_mov_ps(lanes, reinterpret_cast<__m512>(exp2_two(x))));
      };
      const Two weights{weight(exponent.low, static_cast<__mmask16>(sees)),
                        weight(exponent.high, static_cast<__mmask16>(sees >> 16))};
      change[k] = weights * (load_two(gradients + at) - offsets);
      sums.changes = sums.changes + change[k];
      sums.along = sums.along + change[k] * score;
      sums.scores = sums.scores + weights * score;
      store_two(values(out.weights) + at, narrow_two(weights));
      store_two(values(out.changes) + at, narrow_two(change[k]));
    }
    store_words(out.pairs + r / 2 * kBlock, pair_rows(change[0].low, change[1].low));
    store_words(out.pairs + r / 2 * kBlock + 16, pair_rows(change[0].high, change[1].high));
  }
  gain = sums;
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
