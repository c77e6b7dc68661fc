// The attention half of a block: mix, norm, one product for queries, keys and values, their norms and rotation, attention,
// output product, scale, residual. Rows go tile by tile through the first and the last part; attention between them goes
// by batch element and key/value head (attention.h).
#pragma once

#include "core/ops/cpu/simd/attention.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

// (a cos + b sin, b cos - a sin) of x * inverse.
template <class T>
inline void rotate_row(const float* x, float inverse, const float* cos, const float* sin, Index half, T* out) {
#pragma omp simd
  for (Index j = 0; j < half; ++j) {
    const float a = x[j] * inverse, b = x[half + j] * inverse;
    narrow(a * cos[j] + b * sin[j], out[j]);
    narrow(b * cos[j] - a * sin[j], out[half + j]);
  }
}

// The gradient of a raw query or key from that of the normed and rotated one: the norm's part is the same before and after
// the rotation, so both are undone from their output.
template <class T, class O>
inline void unrotate_row(const T* gradient, const T* rotated_row, float inverse, const float* cos, const float* sin, Index half,
                         O* out) {
  float mean = 0;
#pragma omp simd reduction(+ : mean)
  for (Index j = 0; j < 2 * half; ++j) mean += widen(gradient[j]) * widen(rotated_row[j]);
  mean /= static_cast<float>(2 * half);
#pragma omp simd
  for (Index j = 0; j < half; ++j) {
    const float a = inverse * (widen(gradient[j]) - mean * widen(rotated_row[j]));
    const float b = inverse * (widen(gradient[half + j]) - mean * widen(rotated_row[half + j]));
    operand<T>(a * cos[j] - b * sin[j], out[j]);
    operand<T>(b * cos[j] + a * sin[j], out[half + j]);
  }
}

template <class T>
void attention_forward_typed(const Common& common, const AttentionForward& a) {
  using O = Operand<T>;
  using W = Word<O>;
  const Index width = a.width, head = a.head, half = head / 2, inner = a.heads * head;
  const Index all = (a.heads + 2 * a.kv_heads) * head, rows = a.batch * a.length, normed_heads = a.heads + a.kv_heads;
  const auto *x = static_cast<const T*>(a.x), *x0 = static_cast<const T*>(a.x0);
  auto *rotated = static_cast<T*>(a.rotated), *attended = static_cast<T*>(a.attended), *out = static_cast<T*>(a.out);
  W *qkv_packed = nullptr, *output_packed = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    qkv_packed = carver.take<W>(panel_words<O>(width, all));
    output_packed = carver.take<W>(panel_words<O>(inner, width));
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index operand_width = operand_row<O>(width > inner ? width : inner), product_row = padded(all > width ? all : width);

#pragma omp parallel num_threads(common.threads)
  {
    const auto qkv_panels = pack_transposed<O>(static_cast<const T*>(a.qkv), width, all, qkv_packed);
    const auto output_panels = pack_transposed<O>(static_cast<const T*>(a.output), inner, width, output_packed);
    float *mixed = nullptr, *products = nullptr;
    O* operands = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      mixed = carver.take<float>(width);
      operands = carver.take<O>(kTile * operand_width);
      products = carver.take<float>(kTile * product_row);
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));

#pragma omp for schedule(dynamic)
    for (Index first = 0; first < rows; first += kTile) {
      const Index count = smaller(kTile, rows - first);
      for (Index r = 0; r < count; ++r) {
        const Index n = first + r;
        mix_row(x + n * width, x0 + n * width, a.mix, width, mixed);
        const float inverse = inverse_rms(sum_of_squares(mixed, width), width);
        a.norm[n] = inverse;
#pragma omp simd
        for (Index j = 0; j < width; ++j) operand<T>(mixed[j] * inverse, operands[r * operand_width + j]);
        pad_operand(operands + r * operand_width, width);
      }
      product(left(operands, operand_width), count, qkv_panels, words<O>(width), panels_of(all), products, product_row, false);
      for (Index r = 0; r < count; ++r) {
        const Index n = first + r, t = n % a.length;
        const float* in = products + r * product_row;
        T* to = rotated + n * all;
        for (Index i = 0; i < normed_heads; ++i) {
          const float inverse = inverse_rms(sum_of_squares(in + i * head, head), head);
          a.head_norm[n * normed_heads + i] = inverse;
          rotate_row(in + i * head, inverse, a.cos + t * half, a.sin + t * half, half, to + i * head);
        }
#pragma omp simd
        for (Index j = normed_heads * head; j < all; ++j) narrow(in[j], to[j]);
      }
    }

#pragma omp for schedule(dynamic)
    for (Index task = 0; task < a.batch * a.kv_heads; ++task) attend<T>(common, a, task);
    carve(common.scratch(1, carve(nullptr)));  // attention used the thread's memory

    const Index wanted = a.length - a.from;  // positions of each batch element that go on
#pragma omp for schedule(dynamic)
    for (Index first = 0; first < a.batch * wanted; first += kTile) {
      const Index count = smaller(kTile, a.batch * wanted - first);
      const auto row_of = [&](Index r) { return (first + r) / wanted * a.length + a.from + (first + r) % wanted; };
      for (Index r = 0; r < count; ++r) {
        scale_row(attended + row_of(r) * inner, 1.0F, inner, operands + r * operand_width);
      }
      product(left(operands, operand_width), count, output_panels, words<O>(inner), panels_of(width), products, product_row, false);
      for (Index r = 0; r < count; ++r) {
        const Index n = row_of(r);
        mix_row(x + n * width, x0 + n * width, a.mix, width, mixed);
        add_scaled_row(mixed, a.scale, products + r * product_row, width, out + (first + r) * width);
      }
    }
  }
}

template <class T>
void attention_backward_typed(const Common& common, const AttentionBackward& a) {
  using O = Operand<T>;
  using W = Word<O>;
  const Index width = a.width, head = a.head, half = head / 2, inner = a.heads * head;
  const Index all = (a.heads + 2 * a.kv_heads) * head, rows = a.batch * a.length, normed_heads = a.heads + a.kv_heads;
  const auto *x = static_cast<const T*>(a.x), *x0 = static_cast<const T*>(a.x0), *gradient = static_cast<const T*>(a.gradient);
  const auto *rotated = static_cast<const T*>(a.rotated), *attended = static_cast<const T*>(a.attended);
  auto *rotated_gradient = static_cast<T*>(a.rotated_gradient), *attended_gradient = static_cast<T*>(a.attended_gradient);

  const Index qkv_size = all * padded(width), output_size = width * padded(inner);
  const Index team_size = qkv_size + output_size + 2 * round_up(width, 32);
  W *qkv_packed = nullptr, *output_packed = nullptr;
  float *sums = nullptr, *gain_sums = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    qkv_packed = carver.take<W>(panel_words<O>(all, width));
    output_packed = carver.take<W>(panel_words<O>(width, inner));
    gain_sums = carver.take<float>(a.batch * a.heads);
    sums = carver.take<float>(common.threads * team_size);
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index widest = width > all ? width : all, operand_width = operand_row<O>(widest);
  const Index product_row = padded(width > inner ? width : inner);

#pragma omp parallel num_threads(common.threads)
  {
    const Index team = omp_get_num_threads();
    float* qkv_sum = sums + omp_get_thread_num() * team_size;  // [(H + 2 K) h, D]
    float* output_sum = qkv_sum + qkv_size;                    // [D, H h], before the scale
    float* mix_sum = output_sum + output_size;                 // [2, D]
    clear(qkv_sum, team_size);
    const auto output_panels = pack_rows<O>(static_cast<const T*>(a.output), width, inner, output_packed);
    const auto qkv_panels = pack_rows<O>(static_cast<const T*>(a.qkv), all, width, qkv_packed);
    float *mixed = nullptr, *products = nullptr, *normed = nullptr;
    O* operands = nullptr;
    W *columns = nullptr, *panels = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      mixed = carver.take<float>(width);
      operands = carver.take<O>(kTile * operand_width);
      products = carver.take<float>(kTile * product_row);
      normed = carver.take<float>(kTile * width);
      columns = carver.take<W>(column_words<O>(kTile, widest));
      panels = carver.take<W>(panel_words<O>(kTile, width > inner ? width : inner));
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));

    // Through the output product.
#pragma omp for schedule(static)
    for (Index first = 0; first < rows; first += kTile) {
      const Index count = smaller(kTile, rows - first);
      for (Index r = 0; r < count; ++r) {
        scale_columns(gradient + (first + r) * width, a.scale, width, operands + r * operand_width);
      }
      product(left(operands, operand_width), count, output_panels, words<O>(width), panels_of(inner), products, product_row, false);
      for (Index r = 0; r < count; ++r) {
        T* to = attended_gradient + (first + r) * inner;
        const float* in = products + r * product_row;
#pragma omp simd
        for (Index j = 0; j < inner; ++j) narrow(in[j], to[j]);
      }
      pack_columns<O>(gradient + first * width, width, count, width, columns);
      product_packed(columns, width, pack_tile<O>(attended + first * inner, inner, count, inner, panels), words<O>(count),
                     panels_of(inner), output_sum, padded(inner), true);
    }

#pragma omp for schedule(dynamic)
    for (Index task = 0; task < a.batch * a.kv_heads; ++task) attend_backward<T>(common, a, task, gain_sums);
    carve(common.scratch(1, carve(nullptr)));

    // Through rotation, norms, the product for queries, keys and values, and the mix.
#pragma omp for schedule(static)
    for (Index first = 0; first < rows; first += kTile) {
      const Index count = smaller(kTile, rows - first);
      for (Index r = 0; r < count; ++r) {
        const Index n = first + r, t = n % a.length;
        O* to = operands + r * operand_width;
        for (Index i = 0; i < normed_heads; ++i) {
          unrotate_row(rotated_gradient + n * all + i * head, rotated + n * all + i * head, a.head_norm[n * normed_heads + i],
                       a.cos + t * half, a.sin + t * half, half, to + i * head);
        }
        const T* values = rotated_gradient + n * all;
#pragma omp simd
        for (Index j = normed_heads * head; j < all; ++j) operand<T>(widen(values[j]), to[j]);
        pad_operand(to, all);
        float* normal = normed + r * width;
        mix_row(x + n * width, x0 + n * width, a.mix, width, normal);
        const float inverse = a.norm[n];
#pragma omp simd
        for (Index j = 0; j < width; ++j) normal[j] = rounded<T>(normal[j] * inverse);
      }
      product(left(operands, operand_width), count, qkv_panels, words<O>(all), panels_of(width), products, product_row, false);
      pack_columns<O>(operands, operand_width, count, all, columns);
      product_packed(columns, all, pack_tile<O>(normed, width, count, width, panels), words<O>(count), panels_of(width), qkv_sum,
                     padded(width), true);
      for (Index r = 0; r < count; ++r) {
        const Index n = first + r;
        float* change = products + r * product_row;
        norm_backward_row(change, normed + r * width, a.norm[n], width);
        const T *in = gradient + n * width, *from = x + n * width, *from0 = x0 + n * width;
        T *to = static_cast<T*>(a.x_gradient) + n * width, *to0 = static_cast<T*>(a.x0_gradient) + n * width;
        const float* mix = a.mix;
#pragma omp simd
        for (Index j = 0; j < width; ++j) {
          const float total = widen(in[j]) + change[j];
          mix_sum[j] += total * widen(from[j]);
          mix_sum[width + j] += total * widen(from0[j]);
          narrow(total * mix[j], to[j]);
          narrow(total * mix[width + j], to0[j]);
        }
      }
    }

    const Index inner_queries = a.heads * head, inner_keys = a.kv_heads * head;
#pragma omp for schedule(static)
    for (Index i = 0; i < all; ++i) {
      sum_rows(sums, team, team_size, i, padded(width));
      const float* from = sums + i * padded(width);
      float* to = i < inner_queries                ? a.query_gradient + i * width
                  : i < inner_queries + inner_keys ? a.key_gradient + (i - inner_queries) * width
                                                   : a.value_gradient + (i - inner_queries - inner_keys) * width;
#pragma omp simd
      for (Index j = 0; j < width; ++j) to[j] = from[j];
    }
#pragma omp for schedule(static)
    for (Index i = 0; i < width; ++i) {
      sum_rows(sums + qkv_size, team, team_size, i, padded(inner));
      const float* from = sums + qkv_size + i * padded(inner);
      const T* weight = static_cast<const T*>(a.output) + i * inner;
      float *to = a.output_gradient + i * inner, factor = a.scale[i], sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Index j = 0; j < inner; ++j) {
        sum += from[j] * widen(weight[j]);
        to[j] = from[j] * factor;
      }
      a.scale_gradient[i] = sum;
    }
#pragma omp single
    {
      float* mix = sums + qkv_size + output_size;
      sum_rows(mix, team, team_size, 0, 2 * width);
      for (Index j = 0; j < 2 * width; ++j) a.mix_gradient[j] = mix[j];
      for (Index i = 0; i < a.heads; ++i) {
        float sum = 0;
        for (Index b = 0; b < a.batch; ++b) sum += gain_sums[b * a.heads + i];
        a.gain_gradient[i] = sum;
      }
    }
  }
}

// Attention alone, of queries, keys and values that are there already.
template <class T>
void self_attention_typed(const Common& common, const Attention& a, const T* qkv) {
  const Index head = a.head, half = head / 2, all = (a.heads + 2 * a.kv_heads) * head, normed_heads = a.heads + a.kv_heads;
  auto* rotated = static_cast<T*>(a.rotated);
#pragma omp parallel num_threads(common.threads)
  {
    auto* buffer = static_cast<float*>(common.scratch(1, all * 4));
#pragma omp for schedule(static)
    for (Index n = 0; n < a.batch * a.length; ++n) {
      const Index t = n % a.length;
      const T* in = qkv + n * all;
      T* to = rotated + n * all;
#pragma omp simd
      for (Index j = 0; j < all; ++j) buffer[j] = widen(in[j]);
      for (Index i = 0; i < normed_heads; ++i) {
        const float inverse = inverse_rms(sum_of_squares(buffer + i * head, head), head);
        a.head_norm[n * normed_heads + i] = inverse;
        rotate_row(buffer + i * head, inverse, a.cos + t * half, a.sin + t * half, half, to + i * head);
      }
      for (Index j = normed_heads * head; j < all; ++j) to[j] = in[j];
    }
#pragma omp for schedule(dynamic)
    for (Index task = 0; task < a.batch * a.kv_heads; ++task) attend<T>(common, a, task);
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
