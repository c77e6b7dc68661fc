// Squared leaky ReLU, forward and backward, and small kernels of weight matrices. The backward pass needs the output and
// one bit of the input: the derivative is 2 sqrt(out) where the input was positive and -2 slope sqrt(out) elsewhere.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

// Eight columns a thread: one byte of signs.
// 32-bit division is many times faster; 2^35 channels do not fit on a device.
__device__ __forceinline__ Index row_of(Index task, Index eights) {
  return static_cast<std::uint32_t>(task) / static_cast<std::uint32_t>(eights);
}

template <class T, int V>
__device__ __forceinline__ void load_eight(const T* from, int count, float (&x)[8]) {
  if constexpr (V == 8) {
    load<8>(from, x);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = i < count ? widen(from[i]) : 0.0f;
  }
}
template <class T, int V>
__device__ __forceinline__ void store_eight(T* to, int count, const float (&x)[8]) {
  if constexpr (V == 8) {
    store<8>(to, x);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (i < count) to[i] = narrow<T>(x[i]);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads) activate_kernel(Activate a, Index eights) {
  const Index task = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (task >= a.rows * eights) return;
  const Index row = row_of(task, eights), column = (task - row * eights) * 8, at = row * a.hidden + column;
  const int count = static_cast<int>(a.hidden - column);
  float x[8];
  load_eight<T, V>(static_cast<const T*>(a.x) + at, count, x);
  const float norm = a.norm != nullptr ? a.norm[row] : 1.0f;
  unsigned signs = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const bool positive = x[i] > 0;
    signs |= positive ? 1u << i : 0u;
    const float leaky = norm * x[i] * (positive ? 1.0f : a.slope);
    x[i] = leaky * leaky;
  }
  store_eight<T, V>(static_cast<T*>(a.out) + at, count, x);
  if (a.signs != nullptr) a.signs[task] = static_cast<std::uint8_t>(signs);
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads) activate_backward_kernel(ActivateBackward a, Index eights) {
  const Index task = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (task >= a.rows * eights) return;
  const Index row = row_of(task, eights), column = (task - row * eights) * 8, at = row * a.hidden + column;
  const int count = static_cast<int>(a.hidden - column);
  float out[8], d[8];
  load_eight<T, V>(static_cast<const T*>(a.out) + at, count, out);
  load_eight<T, V>(static_cast<const T*>(a.gradient) + at, count, d);
  const float factor = 2 * (a.norm != nullptr ? a.norm[row] : 1.0f);
  const unsigned signs = a.signs[task];
#pragma unroll
  for (int i = 0; i < 8; ++i) d[i] *= factor * ((signs >> i & 1u) != 0 ? 1.0f : -a.slope) * sqrtf(out[i]);
  store_eight<T, V>(static_cast<T*>(a.gradient) + at, count, d);
}

template <class T>
__global__ void __launch_bounds__(kThreads) scale_rows_kernel(ScaleRows a) {
  const Index row = blockIdx.x;
  const float scale = a.scale[row];
  const T* from = static_cast<const T*>(a.weight) + row * a.columns;
  T* to = static_cast<T*>(a.out) + row * a.columns;
  for (Index i = threadIdx.x; i < a.columns; i += kThreads) to[i] = narrow<T>(scale * widen(from[i]));
}

// A block turns a tile of 32 x 32: kWarps rows at a time.
template <class T>
__global__ void __launch_bounds__(kThreads) scale_rows_twice_kernel(ScaleRows a, Index column_tiles) {
  __shared__ T tile[kWarp][kWarp + 2];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index first_row = static_cast<Index>(blockIdx.x) / column_tiles * kWarp;
  const Index first_column = static_cast<Index>(blockIdx.x) % column_tiles * kWarp;
  for (int i = warp; i < kWarp; i += kWarps) {
    const Index row = first_row + i, column = first_column + lane;
    if (row >= a.rows || column >= a.columns) continue;
    const T scaled = narrow<T>(a.scale[row] * widen(static_cast<const T*>(a.weight)[row * a.columns + column]));
    static_cast<T*>(a.out)[row * a.columns + column] = scaled;
    tile[i][lane] = scaled;
  }
  __syncthreads();
  for (int i = warp; i < kWarp; i += kWarps) {
    const Index row = first_row + lane, column = first_column + i;
    if (row < a.rows && column < a.columns) static_cast<T*>(a.transposed)[column * a.rows + row] = tile[lane][i];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) scaled_weight_backward_kernel(ScaledWeightBackward a) {
  __shared__ float shared[kWarps];
  const Index row = blockIdx.x;
  const float scale = a.scale[row];
  const T* weight = static_cast<const T*>(a.weight) + row * a.columns;
  float* product = a.product + row * a.columns;
  float sum = 0;
  for (Index i = threadIdx.x; i < a.columns; i += kThreads) {
    sum += product[i] * widen(weight[i]);
    product[i] *= scale;
  }
  sum = sum_over_lanes(sum);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += shared[w];
    a.scale_gradient[row] = total;
  }
}

}  // namespace

void activate(const Launch& l, const Activate& a) {
  const Index eights = (a.hidden + 7) / 8, blocks = blocks_for(a.rows * eights, kThreads);
  with_type(l.bfloat16, [&](auto element) {
    if (a.hidden % 8 == 0)
      launch(activate_kernel<decltype(element), 8>, blocks, kThreads, l.stream, a, eights);
    else
      launch(activate_kernel<decltype(element), 1>, blocks, kThreads, l.stream, a, eights);
  });
}

void activate_backward(const Launch& l, const ActivateBackward& a) {
  const Index eights = (a.hidden + 7) / 8, blocks = blocks_for(a.rows * eights, kThreads);
  with_type(l.bfloat16, [&](auto element) {
    if (a.hidden % 8 == 0)
      launch(activate_backward_kernel<decltype(element), 8>, blocks, kThreads, l.stream, a, eights);
    else
      launch(activate_backward_kernel<decltype(element), 1>, blocks, kThreads, l.stream, a, eights);
  });
}

void scale_rows(const Launch& l, const ScaleRows& a) {
  with_type(l.bfloat16, [&](auto element) {
    const Index column_tiles = blocks_for(a.columns, kWarp);
    if (a.transposed != nullptr)
      launch(scale_rows_twice_kernel<decltype(element)>, blocks_for(a.rows, kWarp) * column_tiles, kThreads, l.stream, a, column_tiles);
    else
      launch(scale_rows_kernel<decltype(element)>, a.rows, kThreads, l.stream, a);
  });
}

void scaled_weight_backward(const Launch& l, const ScaledWeightBackward& a) {
  with_type(l.bfloat16, [&](auto element) {
    launch(scaled_weight_backward_kernel<decltype(element)>, a.rows, kThreads, l.stream, a);
  });
}

#ifdef __CUDACC__
const char* launch_error() {
  const char* before = failed_before_launch;
  failed_before_launch = nullptr;
  const cudaError_t error = cudaGetLastError();
  if (before != nullptr) return before;
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
#else
const char* launch_error() {
  simt::finish();
  return nullptr;
}
#endif

}  // namespace caddie::ops::cuda
