// Soft-capped cross entropy, nats and gradient in one pass: a block takes a row. Up to 16384 columns a row stays in registers
// between reading and writing; beyond, and for odd vocabularies, it is read again.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

// In bfloat16 mode by the fast exponential: its error of 2e-7 is far below what bfloat16 products carry.
template <class T>
__device__ __forceinline__ float squash(float x) { return tanhf(x); }
template <>
__device__ __forceinline__ float squash<bf16>(float x) { return 1.0f - __fdividef(2.0f, 1.0f + __expf(2.0f * x)); }
template <class T>
__device__ __forceinline__ float exponential(float x) { return expf(x); }
template <>
__device__ __forceinline__ float exponential<bf16>(float x) { return __expf(x); }

template <bool kMost>
__device__ __forceinline__ float over_block(float x, float* shared) {
  x = kMost ? most_of_lanes(x) : sum_over_lanes(x);
  __syncthreads();  // the shared words of the call before have been read
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  float total = shared[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) total = kMost ? fmaxf(total, shared[w]) : total + shared[w];
  return total;
}

// A row's columns: `count` vectors of V a thread, vector n from column (n threads + thread) V on. With kHeld they are held in
// registers, as tanh.
template <class T, int V, int N, bool kHeld>
__global__ void __launch_bounds__(kThreads) cross_entropy_kernel(CrossEntropy a) {
  __shared__ float shared[kWarps];
  const Index row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), columns = static_cast<int>(a.vocabulary);
  T* products = static_cast<T*>(a.products) + row * a.vocabulary;
  const float norm = a.norm != nullptr ? a.norm[row] : 1.0f, in = norm / a.cap, cap = a.cap;
  const Index target = a.targets[row];
  const bool known = target >= 0 && target < a.vocabulary;
  const float at_target = known ? widen(products[target]) : __uint_as_float(0x7fc00000u);
  const int vectors = kHeld ? N : (columns + V * kThreads - 1) / (V * kThreads);

  float held[kHeld ? N : 1][V];
  const auto column_at = [&](int n) { return (n * kThreads + thread) * V; };
  const auto fetch = [&](int n, float (&x)[V]) {
    const int column = column_at(n);
    if (column < columns) {
      load<V>(products + column, x);
#pragma unroll
      for (int v = 0; v < V; ++v) x[v] = squash<T>(x[v] * in);
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v) x[v] = -2.0f;  // below every tanh
    }
  };

  float most = -2.0f;
#pragma unroll
  for (int n = 0; n < vectors; ++n) {
    float x[V];
    fetch(n, x);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      most = fmaxf(most, x[v]);
      if constexpr (kHeld) held[n][v] = x[v];
    }
  }
  most = over_block<true>(most, shared);
  float sum = 0;
#pragma unroll
  for (int n = 0; n < vectors; ++n) {
    float x[V];
    if constexpr (!kHeld) fetch(n, x);
    if (column_at(n) < columns) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        if constexpr (kHeld) x[v] = held[n][v];
        sum += exponential<T>(cap * (x[v] - most));
      }
    }
  }
  sum = over_block<false>(sum, shared);
  if (thread == 0 && a.nats != nullptr) a.nats[row] = logf(sum) - cap * (squash<T>(at_target * in) - most);
  if (!a.write) return;

  const float factor = norm * (a.row_gradient != nullptr ? a.row_gradient[row] : a.weight), inverse = 1.0f / sum;
#pragma unroll
  for (int n = 0; n < vectors; ++n) {
    const int column = column_at(n);
    if (column >= columns) continue;
    float x[V];
    if constexpr (!kHeld) fetch(n, x);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if constexpr (kHeld) x[v] = held[n][v];
      const float probability = exponential<T>(cap * (x[v] - most)) * inverse;
      x[v] = factor * (probability - (column + v == target ? 1.0f : 0.0f)) * (1.0f - x[v] * x[v]);
    }
    store<V>(products + column, x);
  }
}

}  // namespace

void cross_entropy(const Launch& l, const CrossEntropy& a) {
  with_type(l.bfloat16, [&](auto element) {
    using T = decltype(element);
    constexpr Index kVector = 8 * kThreads;
    if (a.vocabulary % 8 != 0)
      launch(cross_entropy_kernel<T, 1, 1, false>, a.rows, kThreads, l.stream, a);
    else if (a.vocabulary <= kVector)
      launch(cross_entropy_kernel<T, 8, 1, true>, a.rows, kThreads, l.stream, a);
    else if (a.vocabulary <= 2 * kVector)
      launch(cross_entropy_kernel<T, 8, 2, true>, a.rows, kThreads, l.stream, a);
    else if (a.vocabulary <= 4 * kVector)
      launch(cross_entropy_kernel<T, 8, 4, true>, a.rows, kThreads, l.stream, a);
    else if (a.vocabulary <= 8 * kVector)
      launch(cross_entropy_kernel<T, 8, 8, true>, a.rows, kThreads, l.stream, a);
    else
      launch(cross_entropy_kernel<T, 8, 1, false>, a.rows, kThreads, l.stream, a);
  });
}

}  // namespace caddie::ops::cuda
