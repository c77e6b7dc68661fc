// Small ops: rows that stand alone (norm, mix, scaled add, activation, embedding, fake quantization) and queries against a
// cache of keys and values.
#pragma once

#include "core/ops/cpu/kernels.h"
#include "core/ops/cpu/simd/attention_half.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr Index kRowChunk = 64;  // rows that a thread takes at once

template <class T>
void rows_typed(const Common& common, const Rows& a) {
  const Index width = a.width;
  const auto *x = static_cast<const T*>(a.x), *y = static_cast<const T*>(a.y);
  auto* out = static_cast<T*>(a.out);
#pragma omp parallel for schedule(static, kRowChunk) num_threads(common.threads)
  for (Index n = 0; n < a.rows; ++n) {
    const T* in = x + n * width;
    T* to = out + n * width;
    switch (a.what) {
      case RowOp::norm: {
        const float inverse = inverse_rms(sum_of_squares(in, width), width);
#pragma omp simd
        for (Index j = 0; j < width; ++j) narrow(widen(in[j]) * inverse, to[j]);
        break;
      }
      case RowOp::scaled_add: {
        const T* other = y + n * width;
        const float* scale = a.factors;
#pragma omp simd
        for (Index j = 0; j < width; ++j) narrow(widen(in[j]) + scale[j] * widen(other[j]), to[j]);
        break;
      }
      case RowOp::mix: {
        const T* other = y + n * width;
        const float* mix = a.factors;
#pragma omp simd
        for (Index j = 0; j < width; ++j) narrow(mix[j] * widen(in[j]) + mix[width + j] * widen(other[j]), to[j]);
        break;
      }
      case RowOp::squared_leaky_relu: {
        const float slope = a.slope;
#pragma omp simd
        for (Index j = 0; j < width; ++j) {
          const float value = widen(in[j]), leaky = value > 0 ? value : value * slope;
          narrow(leaky * leaky, to[j]);
        }
        break;
      }
    }
  }
}
void rows(const Common& common, const Rows& a) {
  common.bfloat16 ? rows_typed<Bf16>(common, a) : rows_typed<float>(common, a);
}

// Of x + scale * y: y's gradient, and the scale's, which sums over rows (one accumulator a thread).
template <class T>
void scaled_add_backward_typed(const Common& common, const ScaledAddBackward& a) {
  const Index width = a.width, size = round_up(width, 32);
  const auto *y = static_cast<const T*>(a.y), *gradient = static_cast<const T*>(a.gradient);
  auto* sums = static_cast<float*>(common.scratch(0, common.threads * size * 4));
#pragma omp parallel num_threads(common.threads)
  {
    float* sum = sums + omp_get_thread_num() * size;
    clear(sum, size);
#pragma omp for schedule(static)
    for (Index n = 0; n < a.rows; ++n) {
      const T *in = gradient + n * width, *other = y + n * width;
      T* to = static_cast<T*>(a.y_gradient) + n * width;
      const float* scale = a.scale;
#pragma omp simd
      for (Index j = 0; j < width; ++j) {
        const float change = widen(in[j]);
        sum[j] += change * widen(other[j]);
        narrow(change * scale[j], to[j]);
      }
    }
#pragma omp single
    {
      sum_rows(sums, omp_get_num_threads(), size, 0, size);
      for (Index j = 0; j < width; ++j) a.scale_gradient[j] = sums[j];
    }
  }
}
void scaled_add_backward(const Common& common, const ScaledAddBackward& a) {
  common.bfloat16 ? scaled_add_backward_typed<Bf16>(common, a) : scaled_add_backward_typed<float>(common, a);
}

// norm(embedding[token]), and its gradient: normed rows first, then every thread adds its own columns, so that equal tokens
// never meet and the order of the sum does not depend on the number of threads.
template <class T>
void embed_typed(const Common& common, const Embed& a) {
  const Index width = a.width;
  auto* out = static_cast<T*>(a.out);
#pragma omp parallel for schedule(static, kRowChunk) num_threads(common.threads)
  for (Index n = 0; n < a.rows; ++n) {
    const float* in = a.embedding + a.tokens[n] * width;
    T* to = out + n * width;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = 0; j < width; ++j) {
      const float value = rounded<T>(in[j]);
      sum += value * value;
    }
    const float inverse = inverse_rms(sum, width);
    if (a.norm != nullptr) a.norm[n] = inverse;
#pragma omp simd
    for (Index j = 0; j < width; ++j) narrow(rounded<T>(in[j]) * inverse, to[j]);
  }
}
template <class T>
void embed_backward_typed(const Common& common, const EmbedBackward& a) {
  const Index width = a.width, slices = (width + kPanel - 1) / kPanel;
  const auto *out = static_cast<const T*>(a.out), *gradient = static_cast<const T*>(a.gradient);
  auto* factors = static_cast<float*>(common.scratch(0, 2 * a.rows * 4));
#pragma omp parallel num_threads(common.threads)
  {
#pragma omp for schedule(static)
    for (Index n = 0; n < a.rows; ++n) {
      const T *in = gradient + n * width, *normed = out + n * width;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Index j = 0; j < width; ++j) sum += widen(in[j]) * widen(normed[j]);
      factors[n] = sum / static_cast<float>(width);
    }
#pragma omp for schedule(static)
    for (Index slice = 0; slice < slices; ++slice) {
      const Index first = slice * kPanel, count = smaller(kPanel, width - first);
      for (Index v = 0; v < a.vocabulary; ++v) clear(a.embedding_gradient + v * width + first, count);
      for (Index n = 0; n < a.rows; ++n) {
        const T *in = gradient + n * width + first, *normed = out + n * width + first;
        float* to = a.embedding_gradient + a.tokens[n] * width + first;
        const float mean = factors[n], inverse = a.norm[n];
#pragma omp simd
        for (Index j = 0; j < count; ++j) to[j] += inverse * (widen(in[j]) - widen(normed[j]) * mean);
      }
    }
  }
}
void embed(const Common& common, const Embed& a) {
  common.bfloat16 ? embed_typed<Bf16>(common, a) : embed_typed<float>(common, a);
}
void embed_backward(const Common& common, const EmbedBackward& a) {
  common.bfloat16 ? embed_backward_typed<Bf16>(common, a) : embed_backward_typed<float>(common, a);
}

// Norm, rotation and gain of heads inside longer rows.
template <class T>
void rotate_typed(const Common& common, const Rotate& a) {
  const Index half = a.head / 2;
#pragma omp parallel num_threads(common.threads)
  {
    auto* buffer = static_cast<float*>(common.scratch(1, a.head * 4));
#pragma omp for schedule(static)
    for (Index n = 0; n < a.batch * a.length; ++n) {
      const Index t = n % a.length;
      for (Index i = 0; i < a.heads; ++i) {
        const T* in = static_cast<const T*>(a.x) + n * a.row + i * a.head;
        T* to = static_cast<T*>(a.out) + (n * a.heads + i) * a.head;
        const float gain = a.gain != nullptr ? a.gain[i] : 1.0F;
        const float factor = gain * inverse_rms(sum_of_squares(in, a.head), a.head);
#pragma omp simd
        for (Index j = 0; j < a.head; ++j) buffer[j] = widen(in[j]);
        rotate_row(buffer, factor, a.cos + t * half, a.sin + t * half, half, to);
      }
    }
  }
}
void rotate(const Common& common, const Rotate& a) {
  common.bfloat16 ? rotate_typed<Bf16>(common, a) : rotate_typed<float>(common, a);
}

// The last `queries` of `positions` positions attend to all before them; keys and values may be the front of a longer cache.
template <class T>
void attend_cached_typed(const Common& common, const AttendCached& a) {
  const Index head = a.head, group = a.heads / a.kv_heads, row = a.kv_heads * head;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(head));
#pragma omp parallel num_threads(common.threads)
  {
    auto* scores = static_cast<float*>(common.scratch(1, (round_up(a.positions, 32) + 2 * round_up(head, 32)) * 4));
    float *query = scores + round_up(a.positions, 32), *sum = query + round_up(head, 32);
#pragma omp for schedule(static) collapse(2)
    for (Index b = 0; b < a.batch; ++b) {
      for (Index hq = 0; hq < a.heads; ++hq) {
        const T* keys = static_cast<const T*>(a.keys) + b * a.cache_stride + hq / group * head;
        const T* values = static_cast<const T*>(a.values) + b * a.cache_stride + hq / group * head;
        for (Index t = 0; t < a.queries; ++t) {
          const Index at = ((b * a.queries + t) * a.heads + hq) * head, seen = a.positions - a.queries + t + 1;
          const T* in = static_cast<const T*>(a.query) + at;
#pragma omp simd
          for (Index j = 0; j < head; ++j) query[j] = widen(in[j]) * scale;
          float top = -__builtin_inff();
          for (Index s = 0; s < seen; ++s) {
            const T* key = keys + s * row;
            float score = 0;
#pragma omp simd reduction(+ : score)
            for (Index j = 0; j < head; ++j) score += query[j] * widen(key[j]);
            scores[s] = score;
            top = larger(score, top);
          }
          float total = 0;
#pragma omp simd reduction(+ : total)
          for (Index s = 0; s < seen; ++s) {
            scores[s] = exp_of(scores[s] - top);
            total += scores[s];
          }
          clear(sum, head);
          for (Index s = 0; s < seen; ++s) {
            const T* value = values + s * row;
            const float weight = scores[s];
#pragma omp simd
            for (Index j = 0; j < head; ++j) sum[j] += weight * widen(value[j]);
          }
          T* to = static_cast<T*>(a.out) + at;
          const float inverse = 1.0F / total;
#pragma omp simd
          for (Index j = 0; j < head; ++j) narrow(sum[j] * inverse, to[j]);
        }
      }
    }
  }
}
void attend_cached(const Common& common, const AttendCached& a) {
  common.bfloat16 ? attend_cached_typed<Bf16>(common, a) : attend_cached_typed<float>(common, a);
}

// y - (y . u) u, u = v / max(|v|, 1e-12). y rows [H, h] dense, v rows of stride `row`.
template <class T>
void exclude_typed(const Common& common, const Exclude& a) {
  const Index group = a.heads / a.kv_heads, head = a.head;
#pragma omp parallel for schedule(static, kRowChunk) num_threads(common.threads)
  for (Index n = 0; n < a.rows; ++n) {
    for (Index hq = 0; hq < a.heads; ++hq) {
      const T* value = static_cast<const T*>(a.values) + n * a.row + hq / group * head;
      const T* in = static_cast<const T*>(a.y) + (n * a.heads + hq) * head;
      T* to = static_cast<T*>(a.out) + (n * a.heads + hq) * head;
      const float inverse = 1.0F / larger(__builtin_sqrtf(sum_of_squares(value, head)), 1e-12F);
      float along = 0;
#pragma omp simd reduction(+ : along)
      for (Index j = 0; j < head; ++j) along += widen(in[j]) * (widen(value[j]) * inverse);
#pragma omp simd
      for (Index j = 0; j < head; ++j) narrow(widen(in[j]) - along * (widen(value[j]) * inverse), to[j]);
    }
  }
}
void exclude(const Common& common, const Exclude& a) {
  common.bfloat16 ? exclude_typed<Bf16>(common, a) : exclude_typed<float>(common, a);
}

// step = max(absmax, 1e-12) / top; round half to even(w / step), clamped, times step: divisions, as IEEE has them. Rounding
// by 1.5 * 2^23 is to nearest even for what the clamp leaves.
void fake_quantize(const Common& common, const FakeQuantize& a) {
  const Index width = a.width;
  const float top = a.top;
#pragma omp parallel for schedule(static) num_threads(common.threads)
  for (Index n = 0; n < a.rows; ++n) {
    const float* in = a.weight + n * width;
    float *to = a.out + n * width, largest = 0;
#pragma omp simd reduction(max : largest)
    for (Index j = 0; j < width; ++j) largest = larger(in[j] < 0 ? -in[j] : in[j], largest);
    const float step = larger(largest, 1e-12F) / top;
#pragma omp simd
    for (Index j = 0; j < width; ++j) {
      float ratio = in[j] / step;
      ratio = ratio > top ? top : ratio;
      ratio = ratio < -top ? -top : ratio;
      const float code = (ratio + 12582912.0F) - 12582912.0F;  // loses the sign of a zero
      const auto sign = __builtin_bit_cast(std::uint32_t, ratio) & 0x80000000U;
      to[j] = __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, code) | sign) * step;
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
