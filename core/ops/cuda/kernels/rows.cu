// Kernels of rows [rows, width]: a warp takes a row, and holds it in registers. Sums over rows are made in two stages of a
// fixed order: by each block over its rows, then over blocks.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon

struct Lanes {
  int lane, warp;
  Index first, stride;  // rows of this warp
};
__device__ __forceinline__ Lanes place() {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  return {thread % kWarp, warp, static_cast<Index>(blockIdx.x) * kWarps + warp, static_cast<Index>(gridDim.x) * kWarps};
}

template <int V, int N>
__device__ __forceinline__ float inverse_rms(const float (&x)[N][V], int width) {
  float sum = 0;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int v = 0; v < V; ++v) sum += x[n][v] * x[n][v];
  return rsqrtf(sum_over_lanes(sum) / static_cast<float>(width) + kEpsilon);
}

// This block's sums of a row vector that every lane holds a part of, to partials [blocks, stride] from `column` on.
template <int V, int N>
__device__ __forceinline__ void write_partials(const float (&sums)[N][V], int width, int lane, int warp, float* partials) {
  __shared__ float shared[kWarps][kWarp * V];
#pragma unroll
  for (int n = 0; n < N; ++n) {
    if (column_of<V>(n, 0) < width) {  // the same for the whole block
#pragma unroll
      for (int v = 0; v < V; ++v) shared[warp][lane * V + v] = sums[n][v];
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < kWarp * V; i += kThreads) {
        float total = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) total += shared[w][i];
        const int column = column_of<V>(n, 0) + i;
        if (column < width) partials[column] = total;
      }
      __syncthreads();
    }
  }
}

// 32 columns a block, 8 threads a column.
__global__ void column_sums_kernel(const float* partials, Index rows, Index columns, float* out) {
  __shared__ float shared[kWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index column = static_cast<Index>(blockIdx.x) * kWarp + lane;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (Index row = warp; row < rows; row += kWarps) sum += partials[row * columns + column];
  }
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < columns) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += shared[w][lane];
    out[column] = total;
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) mix_norm_kernel(MixNorm a) {
  const auto [lane, warp, first, stride] = place();
  float mix[N][V], mix0[N][V];
  load_row<float, V, N>(a.mix, static_cast<int>(a.width), lane, mix);
  load_row<float, V, N>(a.mix + a.width, static_cast<int>(a.width), lane, mix0);
  const int width = static_cast<int>(a.width);
  for (Index row = first; row < a.rows; row += stride) {
    float x[N][V], x0[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.x) + row * width, width, lane, x);
    load_row<T, V, N>(static_cast<const T*>(a.x0) + row * width, width, lane, x0);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int v = 0; v < V; ++v) x[n][v] = rounded<T>(mix[n][v] * x[n][v] + mix0[n][v] * x0[n][v]);
    store_row<T, V, N>(static_cast<T*>(a.out) + row * width, width, lane, x);
    if (a.norm != nullptr) {
      const float norm = inverse_rms<V, N>(x, width);
      if (lane == 0) a.norm[row] = norm;
    }
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) row_norm_kernel(RowNorm a) {
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  for (Index row = first; row < a.rows; row += stride) {
    float x[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.x) + row * width, width, lane, x);
    if (a.copy != nullptr) store_row<T, V, N>(static_cast<T*>(a.copy) + row * width, width, lane, x);
    const float norm = inverse_rms<V, N>(x, width);
    if (lane == 0 && a.norm != nullptr) a.norm[row] = norm;
    if (a.normed != nullptr) {
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int v = 0; v < V; ++v) x[n][v] *= norm;
      store_row<T, V, N>(static_cast<T*>(a.normed) + row * width, width, lane, x);
    }
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) scaled_add_kernel(ScaledAdd a) {
  let_next_begin();
  wait_for_previous();
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  float scale[N][V];
  load_row<float, V, N>(a.scale, width, lane, scale);
  for (Index row = first; row < a.rows; row += stride) {
    float x[N][V], y[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.x) + row * width, width, lane, x);
    load_row<T, V, N>(static_cast<const T*>(a.y) + row * width, width, lane, y);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int v = 0; v < V; ++v) x[n][v] += scale[n][v] * y[n][v];
    store_row<T, V, N>(static_cast<T*>(a.out) + row * width, width, lane, x);
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) scaled_add_backward_kernel(ScaledAddBackward a) {
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  float scale[N][V], sums[N][V] = {};
  load_row<float, V, N>(a.scale, width, lane, scale);
  for (Index row = first; row < a.rows; row += stride) {
    float y[N][V], g[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.y) + row * width, width, lane, y);
    load_row<T, V, N>(static_cast<const T*>(a.gradient) + row * width, width, lane, g);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        sums[n][v] += y[n][v] * g[n][v];
        g[n][v] *= scale[n][v];
      }
    store_row<T, V, N>(static_cast<T*>(a.y_gradient) + row * width, width, lane, g);
  }
  write_partials<V, N>(sums, width, lane, warp, a.partials + static_cast<Index>(blockIdx.x) * width);
}

template <class T, int V, int N>
__device__ __forceinline__ float dot(const float (&x)[N][V], const float (&y)[N][V]) {
  float sum = 0;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int v = 0; v < V; ++v) sum += x[n][v] * y[n][v];
  return sum_over_lanes(sum);
}

// d = factor (d - norm^2 x mean(d x)) + gradient, of a row.
template <class T, int V, int N>
__device__ __forceinline__ void through_norm(float (&d)[N][V], const float (&x)[N][V], float norm, float factor,
                                             const T* gradient, int width, int lane) {
  const float along = norm * norm * dot<T, V, N>(x, d) / static_cast<float>(width);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const int column = column_of<V>(n, lane);
    float more[V] = {};
    if (gradient != nullptr && column < width) load<V>(gradient + column, more);
#pragma unroll
    for (int v = 0; v < V; ++v) d[n][v] = factor * (d[n][v] - along * x[n][v]) + more[v];
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) norm_backward_kernel(NormBackward a) {
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  const float factor = a.factor != nullptr ? *a.factor : 1.0f;
  for (Index row = first; row < a.rows; row += stride) {
    float x[N][V], d[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.x) + row * width, width, lane, x);
    load_row<T, V, N>(static_cast<const T*>(a.product) + row * width, width, lane, d);
    const T* gradient = a.gradient != nullptr ? static_cast<const T*>(a.gradient) + row * width : nullptr;
    through_norm<T, V, N>(d, x, a.norm[row], factor, gradient, width, lane);
    store_row<T, V, N>(static_cast<T*>(a.x_gradient) + row * width, width, lane, d);
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) mix_backward_kernel(MixBackward a) {
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  float sums[N][V] = {}, sums0[N][V] = {};
  for (Index row = first; row < a.rows; row += stride) {
    float before[N][V], before0[N][V], x[N][V], d[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.before) + row * width, width, lane, before);
    load_row<T, V, N>(static_cast<const T*>(a.before0) + row * width, width, lane, before0);
    load_row<T, V, N>(static_cast<const T*>(a.product) + row * width, width, lane, d);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const int column = column_of<V>(n, lane);
      float mix[V] = {}, mix0[V] = {};
      if (column < width) load<V>(a.mix + column, mix), load<V>(a.mix + width + column, mix0);
#pragma unroll
      for (int v = 0; v < V; ++v) x[n][v] = rounded<T>(mix[v] * before[n][v] + mix0[v] * before0[n][v]);
    }
    store_row<T, V, N>(static_cast<T*>(a.mixed) + row * width, width, lane, x);
    through_norm<T, V, N>(d, x, a.norm[row], 1.0f, static_cast<const T*>(a.gradient) + row * width, width, lane);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const int column = column_of<V>(n, lane);
      if (column >= width) continue;
      float mix[V], out[V] = {};
      load<V>(a.mix + column, mix);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        sums[n][v] += d[n][v] * before[n][v];
        sums0[n][v] += d[n][v] * before0[n][v];
        out[v] = d[n][v] * mix[v];
      }
      store<V>(static_cast<T*>(a.x_gradient) + row * width + column, out);
      load<V>(a.mix + width + column, mix);
      if (a.more0 != nullptr) load<V>(static_cast<const T*>(a.more0) + row * width + column, out);
#pragma unroll
      for (int v = 0; v < V; ++v) out[v] = d[n][v] * mix[v] + (a.more0 != nullptr ? out[v] : 0.0f);
      store<V>(static_cast<T*>(a.x0_gradient) + row * width + column, out);
    }
  }
  float* partials = a.partials + static_cast<Index>(blockIdx.x) * 2 * width;
  write_partials<V, N>(sums, width, lane, warp, partials);
  write_partials<V, N>(sums0, width, lane, warp, partials + width);
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) embed_kernel(Embed a) {
  let_next_begin();
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  for (Index row = first; row < a.rows; row += stride) {
    const Index token = a.tokens[row];
    const bool known = token >= 0 && token < a.vocabulary;
    float x[N][V];
    load_row<float, V, N>(a.embedding + (known ? token : 0) * width, width, lane, x);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int v = 0; v < V; ++v) x[n][v] = rounded<T>(x[n][v]);
    float norm = inverse_rms<V, N>(x, width);
    if (!known) norm = __uint_as_float(0x7fc00000u);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int v = 0; v < V; ++v) x[n][v] *= norm;
    store_row<T, V, N>(static_cast<T*>(a.out) + row * width, width, lane, x);
    if (lane == 0 && a.norm != nullptr) a.norm[row] = norm;
  }
}

template <class T, int V, int N>
__global__ void __launch_bounds__(kThreads) embed_backward_kernel(EmbedBackward a) {
  const auto [lane, warp, first, stride] = place();
  const int width = static_cast<int>(a.width);
  for (Index row = first; row < a.rows; row += stride) {
    float x[N][V], g[N][V];
    load_row<T, V, N>(static_cast<const T*>(a.out) + row * width, width, lane, x);
    load_row<T, V, N>(static_cast<const T*>(a.gradient) + row * width, width, lane, g);
    const float mean = dot<T, V, N>(x, g) / static_cast<float>(width), norm = a.norm[row];
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int v = 0; v < V; ++v) g[n][v] = norm * (g[n][v] - mean * x[n][v]);
    store_row<float, V, N>(a.row_gradient + row * width, width, lane, g);
  }
}

// Calls body with (element, V, N) of these rows.
template <class Body>
void with_rows(const Launch& launch_, Index width, Body body) {
  with_type(launch_.bfloat16, [&](auto element) {
    with_row_shape(width, [&](auto vector, auto count) { body(element, vector, count); });
  });
}

}  // namespace

bool row_width_fits(Index width) { return width > 0 && (width % 8 == 0 ? width <= 2048 : width <= 1024); }

void column_sums(void* stream, const float* partials, Index rows, Index columns, float* out) {
  launch(column_sums_kernel, blocks_for(columns, kWarp), kThreads, stream, partials, rows, columns, out);
}

void mix_norm(const Launch& l, const MixNorm& a) {
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(mix_norm_kernel<decltype(element), v(), n()>, capped(blocks_for(a.rows, kWarps), 3), kThreads, l.stream, a);
  });
}

void row_norm(const Launch& l, const RowNorm& a) {
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(row_norm_kernel<decltype(element), v(), n()>, blocks_for(a.rows, kWarps), kThreads, l.stream, a);
  });
}

void scaled_add(const Launch& l, const ScaledAdd& a) {
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch_early(l.early, scaled_add_kernel<decltype(element), v(), n()>, capped(blocks_for(a.rows, kWarps)), kThreads, l.stream, a);
  });
}

void scaled_add_backward(const Launch& l, const ScaledAddBackward& a) {
  const Index blocks = capped(blocks_for(a.rows, kWarps), 3);
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(scaled_add_backward_kernel<decltype(element), v(), n()>, blocks, kThreads, l.stream, a);
  });
  column_sums(l.stream, a.partials, blocks, a.width, a.scale_gradient);
}

void norm_backward(const Launch& l, const NormBackward& a) {
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(norm_backward_kernel<decltype(element), v(), n()>, blocks_for(a.rows, kWarps), kThreads, l.stream, a);
  });
}

void mix_backward(const Launch& l, const MixBackward& a) {
  const Index blocks = capped(blocks_for(a.rows, kWarps), 2);
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(mix_backward_kernel<decltype(element), v(), n()>, blocks, kThreads, l.stream, a);
  });
  column_sums(l.stream, a.partials, blocks, 2 * a.width, a.mix_gradient);
}

void embed(const Launch& l, const Embed& a) {
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(embed_kernel<decltype(element), v(), n()>, blocks_for(a.rows, kWarps), kThreads, l.stream, a);
  });
}

void embed_backward(const Launch& l, const EmbedBackward& a) {
  with_rows(l, a.width, [&](auto element, auto v, auto n) {
    launch(embed_backward_kernel<decltype(element), v(), n()>, blocks_for(a.rows, kWarps), kThreads, l.stream, a);
  });
}

}  // namespace caddie::ops::cuda
