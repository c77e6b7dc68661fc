// The attention half of a block in bfloat16 by tiles: as in attention_half.h, with the core of tile_attention.h.
#pragma once

#include "core/ops/cpu/simd/attention_half.h"
#include "core/ops/cpu/simd/tile_attention_backward.h"
#include "core/ops/cpu/simd/tile_mlp.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

// mix[0] x + mix[1] x0 as storage rounds it, 32 values from column j on; `mix` in whole panels.
inline Two mixed_two(const Bf16* x, const Bf16* x0, const float* mix, Index panel, Index j, Index left) {
  return widen_words(narrow_two(load_two(mix + j) * load_two(x + j, left) +
                                load_two(mix + panel + j) * load_two(x0 + j, left)));
}

inline Vec load_lanes(const float* p, __mmask16 lanes) {
  return reinterpret_cast<Vec>(_mm512_maskz_loadu_ps(lanes, p));
}
inline Vec load_lanes(const Bf16* p, __mmask16 lanes) { return reinterpret_cast<Vec>(low_halves(p, lanes) << 16); }
inline void store_lanes(Bf16* p, Vec x, __mmask16 lanes) {
  _mm256_mask_storeu_epi16(p, lanes, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(x))));
}

// Norm and rotation of the heads of a row: (a cos + b sin, b cos - a sin) of x / rms. `vectors`: room for sixteen.
template <class T>
inline void rotate_heads(const T* x, Index heads, const float* cos, const float* sin, Index half, Bf16* out,
                         float* inverse_norms,
                         float* vectors) {
  for (Index first = 0; first < heads; first += 16) {
    const Index count = smaller(16, heads - first);
    for (Index i = 0; i < count; ++i) {
      const T* head = x + (first + i) * 2 * half;
      Vec sum{};
      for (Index j = 0; j < half; j += 16) {
        const __mmask16 lanes = lanes_of(half - j);
        const Vec a = load_lanes(head + j, lanes), b = load_lanes(head + half + j, lanes);
        sum = sum + a * a + b * b;
      }
      store(vectors + 16 * i, sum);
    }
    float inverses[16];
    inverse_rms_of(vectors, 2 * half, inverses);
    for (Index i = 0; i < count; ++i) {
      inverse_norms[first + i] = inverses[i];
      const T* head = x + (first + i) * 2 * half;
      Bf16* to = out + (first + i) * 2 * half;
      for (Index j = 0; j < half; j += 16) {
        const __mmask16 lanes = lanes_of(half - j);
        const Vec a = load_lanes(head + j, lanes) * inverses[i], b = load_lanes(head + half + j, lanes) * inverses[i];
        const Vec c = load_lanes(cos + j, lanes), s = load_lanes(sin + j, lanes);
        store_lanes(to + j, a * c + b * s, lanes);
        store_lanes(to + half + j, b * c - a * s, lanes);
      }
    }
  }
}
// The gradient of a raw head from that of the normed and rotated one: the norm's part is the same before and after the
// rotation, so both are undone from their output.
inline void unrotate_head(const Bf16* gradient, const Bf16* rotated, float inverse, const float* cos, const float* sin,
                          Index half, Bf16* out) {
  Vec along{};
  for (Index j = 0; j < half; j += 16) {
    const __mmask16 lanes = lanes_of(half - j);
    along = along + load_lanes(gradient + j, lanes) * load_lanes(rotated + j, lanes) +
            load_lanes(gradient + half + j, lanes) * load_lanes(rotated + half + j, lanes);
  }
  const float mean = sum_of(along) / static_cast<float>(2 * half);
  for (Index j = 0; j < half; j += 16) {
    const __mmask16 lanes = lanes_of(half - j);
    const Vec a = (load_lanes(gradient + j, lanes) - load_lanes(rotated + j, lanes) * mean) * inverse;
    const Vec b = (load_lanes(gradient + half + j, lanes) - load_lanes(rotated + half + j, lanes) * mean) * inverse;
    const Vec c = load_lanes(cos + j, lanes), s = load_lanes(sin + j, lanes);
    store_lanes(out + j, a * c - b * s, lanes);
    store_lanes(out + half + j, b * c + a * s, lanes);
  }
}

template <>
void attention_forward_typed<Bf16>(const Common& common, const AttentionForward& a) {
  const Index width = a.width, head = a.head, half = head / 2, inner = a.heads * head, panel = padded(width);
  const Index all = (a.heads + 2 * a.kv_heads) * head, rows = a.batch * a.length, normed_heads = a.heads + a.kv_heads;
  const auto *x = static_cast<const Bf16*>(a.x), *x0 = static_cast<const Bf16*>(a.x0);
  auto *rotated = static_cast<Bf16*>(a.rotated), *attended = static_cast<Bf16*>(a.attended);
  auto* out = static_cast<Bf16*>(a.out);
  std::uint32_t *qkv_packed = nullptr, *output_packed = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    qkv_packed = carver.take<std::uint32_t>(panels_words(width, all));
    output_packed = carver.take<std::uint32_t>(panels_words(inner, width));
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index in_row = pair_words(width), inner_row = pair_words(inner), product_row = padded(all);

#pragma omp parallel num_threads(common.threads)
  {
    const Tiles tiles;
    const auto qkv_panels = share_transposed_panels(static_cast<const Bf16*>(a.qkv), width, all, qkv_packed);
    const auto output_panels = share_transposed_panels(static_cast<const Bf16*>(a.output), inner, width, output_packed);
    float *mix = nullptr, *scale = nullptr, *products = nullptr, *blocks = nullptr;
    std::uint32_t* operands = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      mix = carver.take<float>(2 * panel);
      scale = carver.take<float>(panel);
      blocks = carver.take<float>(2 * kBlock * kBlock);
      operands = carver.take<std::uint32_t>(kTall * (in_row > inner_row ? in_row : inner_row));
      products = carver.take<float>(kTall * product_row);
      return carver.used();
    };
    const auto make_room = [&] {
      carve(common.scratch(1, carve(nullptr)));
      pad_copy(a.mix, width, mix);
      pad_copy(a.mix + width, width, mix + panel);
      pad_copy(a.scale, width, scale);
    };
    make_room();

#pragma omp for schedule(static)
    for (Index first = 0; first < rows; first += kTall) {
      const Index count = smaller(kTall, rows - first);
      for (Index r = 0; r < count; ++r) {
        const Bf16 *in = x + (first + r) * width, *in0 = x0 + (first + r) * width;
        Bf16* to = values(operands + r * in_row);
        prefetch(rotated + (first + r) * all, all);
        Two square{};
        for (Index j = 0; j < width; j += 32) {
          const Two value = mixed_two(in, in0, mix, panel, j, width - j);
          square = square + value * value;
          store_two(to + j, narrow_two(value));
        }
        store(blocks + 16 * r, square.low + square.high);
      }
      float inverses[kTall];
      for (Index r = 0; r < count; r += 16) inverse_rms_of(blocks + 16 * r, width, inverses + r);
      for (Index r = 0; r < count; ++r) {
        a.norm[first + r] = inverses[r];
        Bf16* row = values(operands + r * in_row);
        scale_row_two(row, inverses[r], 2 * in_row, row);
      }
      multiply(operands, in_row, count, qkv_panels, in_row, panels_of(all), products, product_row, false);
      for (Index r = 0; r < count; ++r) {
        const Index n = first + r, t = n % a.length;
        const float* in = products + r * product_row;
        Bf16* to = rotated + n * all;
        rotate_heads(in, normed_heads, a.cos + t * half, a.sin + t * half, half, to, a.head_norm + n * normed_heads,
                     blocks);
        for (Index j = normed_heads * head; j < all; j += 16) store_lanes(to + j, load(in + j), lanes_of(all - j));
      }
    }

#pragma omp for schedule(static)
    for (Index task = 0; task < a.batch * a.kv_heads; ++task) attend_tiles(common, a, task);
    make_room();  // attention used the thread's memory

    const Index wanted = a.length - a.from;  // positions of each batch element that go on
#pragma omp for schedule(static)
    for (Index first = 0; first < a.batch * wanted; first += kTall) {
      const Index count = smaller(kTall, a.batch * wanted - first);
      const auto row_of = [&](Index r) { return (first + r) / wanted * a.length + a.from + (first + r) % wanted; };
      for (Index r = 0; r < count; ++r) {
        const Bf16* from = attended + row_of(r) * inner;
        prefetch(out + (first + r) * width, width);
        Bf16* to = values(operands + r * inner_row);
        for (Index j = 0; j < inner; j += 32) {
          store_two(to + j, reinterpret_cast<Words>(_mm512_maskz_loadu_epi16(values_of(inner - j), from + j)));
        }
      }
      multiply_blocks(operands, inner_row, count, output_panels, inner_row, panels_of(width), blocks,
                      [&](Index i, Index p, const float* block) {
        const Index column = p * kBlock, left = width - column;
        const Two factor = load_two(scale + column);
        for (Index r = 0; r < smaller(kBlock, count - i); ++r) {
          const Index n = row_of(i + r);
          const Two value = mixed_two(x + n * width, x0 + n * width, mix, panel, column, left);
          const Two sum = value + factor * load_two(block + r * kBlock);
          store_two(out + (first + i + r) * width + column, narrow_two(sum), left);
        }
      });
    }
  }
}

// Attention alone, of queries, keys and values that are there already.
template <>
void self_attention_typed(const Common& common, const Attention& a, const Bf16* qkv) {
  const Index head = a.head, half = head / 2;
  const Index all = (a.heads + 2 * a.kv_heads) * head, normed_heads = a.heads + a.kv_heads;
  auto* rotated = static_cast<Bf16*>(a.rotated);
#pragma omp parallel num_threads(common.threads)
  {
    const Tiles tiles;
    alignas(64) float vectors[16 * 16] = {};
#pragma omp for schedule(static)
    for (Index n = 0; n < a.batch * a.length; ++n) {
      const Index t = n % a.length;
      const Bf16* in = qkv + n * all;
      Bf16* to = rotated + n * all;
      rotate_heads(in, normed_heads, a.cos + t * half, a.sin + t * half, half, to, a.head_norm + n * normed_heads,
                   vectors);
      __builtin_memcpy(to + normed_heads * head, in + normed_heads * head,
                       static_cast<std::size_t>(all - normed_heads * head) * sizeof(Bf16));
    }
#pragma omp for schedule(static)
    for (Index task = 0; task < a.batch * a.kv_heads; ++task) attend_tiles(common, a, task);
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
