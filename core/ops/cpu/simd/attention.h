// Causal attention of one batch element and key/value head with its group of query heads, forward and backward. Scores of a
// tile of queries against all its keys lie in the thread's cache, so softmax needs no running correction. float32 inside.
#pragma once

#include <omp.h>

#include "core/ops/cpu/kernels.h"
#include "core/ops/cpu/simd/rows.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr Index kQueries = 4 * kRows;

// Where a (batch, key/value head) pair finds its rows. Strides are in elements of T.
template <class T>
struct Heads {
  Index length, head, group, row;  // row: (H + 2 K) h
  const T *query, *key, *value;    // at position 0; query: of the first head of the group
};

template <class T>
Heads<T> heads_of(const Attention& a, Index task) {
  const Index b = task / a.kv_heads, kv = task % a.kv_heads, group = a.heads / a.kv_heads;
  const Index row = (a.heads + 2 * a.kv_heads) * a.head;
  const T* base = static_cast<const T*>(a.rotated) + b * a.length * row;
  return {a.length, a.head, group, row, base + kv * group * a.head, base + (a.heads + kv) * a.head,
          base + (a.heads + a.kv_heads + kv) * a.head};
}

// 1 / max(|v|, 1e-12) of every position.
template <class T>
void inverse_lengths(const Heads<T>& h, float* out) {
  for (Index t = 0; t < h.length; ++t) {
    const float length = __builtin_sqrtf(sum_of_squares(h.value + t * h.row, h.head));
    out[t] = 1.0F / larger(length, 1e-12F);
  }
}

template <class T>
void load_rows(const T* source, Index row, Index count, Index columns, float factor, float* out) {
  for (Index r = 0; r < count; ++r) {
    const T* in = source + r * row;
    float* to = out + r * columns;
#pragma omp simd
    for (Index j = 0; j < columns; ++j) to[j] = widen(in[j]) * factor;
  }
}

template <class T>
void attend(const Common& common, const Attention& a, Index task) {
  const auto h = heads_of<T>(a, task);
  const Index length = h.length, head = h.head, score_row = padded(length), out_row = padded(head);
  const Index b = task / a.kv_heads, kv = task % a.kv_heads, width = a.heads * head;
  float *keys = nullptr, *values = nullptr, *queries = nullptr, *scores = nullptr, *sums = nullptr, *lengths = nullptr;
  const auto carve = [&](void* block) {
    Carver carver(block);
    keys = carver.take<float>(panel_words<float>(head, length));
    values = carver.take<float>(panel_words<float>(length, head));
    queries = carver.take<float>(kQueries * head);
    scores = carver.take<float>(kQueries * score_row);
    sums = carver.take<float>(kQueries * out_row);
    lengths = carver.take<float>(length);
    return carver.used();
  };
  carve(common.scratch(1, carve(nullptr)));
  for (Index p = 0; p < panels_of(length); ++p) {
    pack_transposed_panel<float>(h.key, h.row, head, p * kPanel, length, keys + p * head * kPanel);
  }
  const auto value_panels = pack_tile<float>(h.value, h.row, length, head, values);
  if (a.exclude) inverse_lengths(h, lengths);

  for (Index g = 0; g < h.group; ++g) {
    const Index hq = kv * h.group + g;
    const float factor = a.gain[hq] / __builtin_sqrtf(static_cast<float>(head));
    for (Index first = a.from; first < length; first += kQueries) {
      const Index count = smaller(kQueries, length - first), seen = first + count;
      load_rows(h.query + g * head + first * h.row, h.row, count, head, factor, queries);
      product<float>({queries, head, 1}, count, {keys, head * kPanel}, head, panels_of(seen), scores, score_row, false);
      for (Index r = 0; r < count; ++r) {
        float* row = scores + r * score_row;
        // Whole vectors: what lies beyond the row's own position gets a score that adds nothing.
        const Index valid = first + r + 1, wide = round_up(valid, kLanes);
        for (Index j = valid; j < wide; ++j) row[j] = -__builtin_inff();
        float top = row[0];
#pragma omp simd reduction(max : top)
        for (Index j = 0; j < wide; ++j) top = larger(row[j], top);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Index j = 0; j < wide; ++j) {
          row[j] = exp_of(row[j] - top);
          sum += row[j];
        }
        clear(row + valid, seen - valid);
        a.log_sum[(b * a.heads + hq) * length + first + r] = top + __builtin_logf(sum);
        queries[r] = 1.0F / sum;  // the queries are used up
      }
      product<float>({scores, score_row, 1}, count, value_panels, seen, panels_of(head), sums, out_row, false);
      for (Index r = 0; r < count; ++r) {
        const Index t = first + r;
        float* row = sums + r * out_row;
        const float inverse = queries[r];
#pragma omp simd
        for (Index j = 0; j < head; ++j) row[j] *= inverse;
        T* out = static_cast<T*>(a.attended) + (b * length + t) * width + hq * head;
        if (a.exclude) {
          const T* value = h.value + t * h.row;
          float along = 0;
#pragma omp simd reduction(+ : along)
          for (Index j = 0; j < head; ++j) along += row[j] * widen(value[j]);
          along *= lengths[t];
          const float take = along * lengths[t];
          a.removed[(b * a.heads + hq) * length + t] = along;
#pragma omp simd
          for (Index j = 0; j < head; ++j) narrow(row[j] - take * widen(value[j]), out[j]);
        } else {
#pragma omp simd
          for (Index j = 0; j < head; ++j) narrow(row[j], out[j]);
        }
      }
    }
  }
}

// Gradients of the rotated queries and keys and of the values, from that of the attended values. The gain's gradient of
// every (batch, query head) goes to gain_sums [B, H].
template <class T>
void attend_backward(const Common& common, const AttentionBackward& a, Index task, float* gain_sums) {
  const auto h = heads_of<T>(a, task);
  const Index length = h.length, head = h.head, score_row = padded(length), out_row = padded(head);
  const Index b = task / a.kv_heads, kv = task % a.kv_heads, width = a.heads * head;
  float *keys = nullptr, *values = nullptr, *key_rows = nullptr, *queries = nullptr, *scores = nullptr, *changes = nullptr;
  float *query_panels = nullptr, *out_panels = nullptr, *outputs = nullptr, *sums = nullptr, *lengths = nullptr;
  float *key_sum = nullptr, *value_sum = nullptr, *along = nullptr;
  const auto carve = [&](void* block) {
    Carver carver(block);
    keys = carver.take<float>(panel_words<float>(head, length));
    values = carver.take<float>(panel_words<float>(head, length));
    key_rows = carver.take<float>(panel_words<float>(length, head));
    queries = carver.take<float>(kQueries * head);
    scores = carver.take<float>(kQueries * score_row);
    changes = carver.take<float>(kQueries * score_row);
    query_panels = carver.take<float>(panel_words<float>(kQueries, head));
    out_panels = carver.take<float>(panel_words<float>(kQueries, head));
    outputs = carver.take<float>(kQueries * head);
    sums = carver.take<float>(kQueries * out_row);
    lengths = carver.take<float>(length);
    key_sum = carver.take<float>(length * out_row);
    value_sum = carver.take<float>(length * out_row);
    along = carver.take<float>(kQueries);
    return carver.used();
  };
  carve(common.scratch(1, carve(nullptr)));
  for (Index p = 0; p < panels_of(length); ++p) {
    pack_transposed_panel<float>(h.key, h.row, head, p * kPanel, length, keys + p * head * kPanel);
    pack_transposed_panel<float>(h.value, h.row, head, p * kPanel, length, values + p * head * kPanel);
  }
  const auto key_panels = pack_tile<float>(h.key, h.row, length, head, key_rows);
  if (a.exclude) inverse_lengths(h, lengths);
  clear(key_sum, length * out_row);
  clear(value_sum, length * out_row);
  T* result = static_cast<T*>(a.rotated_gradient) + (h.query - static_cast<const T*>(a.rotated));

  for (Index g = 0; g < h.group; ++g) {
    const Index hq = kv * h.group + g;
    const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(head)), factor = a.gain[hq] * scale;
    float gain_sum = 0;
    for (Index first = 0; first < length; first += kQueries) {
      const Index count = smaller(kQueries, length - first), seen = first + count;
      load_rows(h.query + g * head + first * h.row, h.row, count, head, factor, queries);
      // Gradient of the attention's output, and its product with that output (along).
      for (Index r = 0; r < count; ++r) {
        const Index t = first + r, at = (b * length + t) * width + hq * head;
        const T *gradient = static_cast<const T*>(a.attended_gradient) + at, *kept = static_cast<const T*>(a.attended) + at;
        float *out = outputs + r * head, sum = 0;
        if (a.exclude) {
          const T* value = h.value + t * h.row;
          const float removed = a.removed[(b * a.heads + hq) * length + t], inverse = lengths[t];
          float turned = 0;
#pragma omp simd reduction(+ : turned)
          for (Index j = 0; j < head; ++j) turned += widen(gradient[j]) * widen(value[j]);
          turned *= inverse;
          // u = v / |v|: du = -(removed dz + turned y), y = z + removed u; dv = (du - (du . u) u) / |v|. Below the clamp
          // of |v| the division is by a constant and nothing is projected away.
          const bool clamped = inverse >= 1e12F;
          const float across = clamped ? -removed * turned : removed * turned;
          float* value_out = value_sum + t * out_row;
#pragma omp simd reduction(+ : sum)
          for (Index j = 0; j < head; ++j) {
            const float unit = widen(value[j]) * inverse, z = widen(kept[j]), dz = widen(gradient[j]);
            value_out[j] -= inverse * (removed * dz + turned * z - across * unit);
            out[j] = dz - turned * unit;
            sum += out[j] * (z + removed * unit);
          }
        } else {
#pragma omp simd reduction(+ : sum)
          for (Index j = 0; j < head; ++j) {
            out[j] = widen(gradient[j]);
            sum += out[j] * widen(kept[j]);
          }
        }
        along[r] = sum;
      }
      product<float>({queries, head, 1}, count, {keys, head * kPanel}, head, panels_of(seen), scores, score_row, false);
      product<float>({outputs, head, 1}, count, {values, head * kPanel}, head, panels_of(seen), changes, score_row, false);
      for (Index r = 0; r < count; ++r) {
        float *weight = scores + r * score_row, *change = changes + r * score_row;
        const float log_sum = a.log_sum[(b * a.heads + hq) * length + first + r], offset = along[r];
        const Index valid = first + r + 1, wide = round_up(valid, kLanes);
#pragma omp simd
        for (Index j = 0; j < wide; ++j) {
          weight[j] = exp_of(weight[j] - log_sum);
          change[j] = weight[j] * (change[j] - offset);
        }
        clear(weight + valid, seen - valid);
        clear(change + valid, seen - valid);
      }
      product<float>({changes, score_row, 1}, count, key_panels, seen, panels_of(head), sums, out_row, false);
      for (Index r = 0; r < count; ++r) {
        const float* in = sums + r * out_row;
        const T* query = h.query + g * head + (first + r) * h.row;
        T* out = result + g * head + (first + r) * h.row;
        float turned = 0;
#pragma omp simd reduction(+ : turned)
        for (Index j = 0; j < head; ++j) {
          turned += in[j] * widen(query[j]);
          narrow(in[j] * factor, out[j]);
        }
        gain_sum += turned * scale;
      }
      // The transposed products: keys and values of all positions seen.
      const auto scaled = pack_tile<float>(queries, head, count, head, query_panels);
      product<float>({changes, 1, score_row}, seen, scaled, count, panels_of(head), key_sum, out_row, true);
      const auto out_tile = pack_tile<float>(outputs, head, count, head, out_panels);
      product<float>({scores, 1, score_row}, seen, out_tile, count, panels_of(head), value_sum, out_row, true);
    }
    gain_sums[b * a.heads + hq] = gain_sum;
  }

  T* key_result = static_cast<T*>(a.rotated_gradient) + (h.key - static_cast<const T*>(a.rotated));
  T* value_result = static_cast<T*>(a.rotated_gradient) + (h.value - static_cast<const T*>(a.rotated));
  for (Index t = 0; t < length; ++t) {
#pragma omp simd
    for (Index j = 0; j < head; ++j) {
      narrow(key_sum[t * out_row + j], key_result[t * h.row + j]);
      narrow(value_sum[t * out_row + j], value_result[t * h.row + j]);
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
