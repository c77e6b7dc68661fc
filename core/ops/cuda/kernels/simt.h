// What the kernels' files need of the language: vectors of elements, rounding, sums over lanes and blocks, launches. They
// are CUDA under nvcc. A test compiles the same files as plain C++ with threads that are emulated one after the other
// by a header of the tests, so that their arithmetic is tested without a GPU.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#endif

namespace caddie::ops::cuda {

using Index = std::int64_t;
inline constexpr int kWarp = 32;

#ifdef __CUDACC__
template <class... P, class... A>
void launch(void (*kernel)(P...), Index blocks, int threads, void* stream, const A&... arguments) {
  if (blocks > 0) kernel<<<static_cast<unsigned>(blocks), threads, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
}
#endif

struct bf16 {
  std::uint16_t bits;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16); }

template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) { return x; }
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) { return {__bfloat16_as_ushort(__float2bfloat16_rn(x))}; }

// x as it rests in memory.
template <class T>
__device__ __forceinline__ float rounded(float x) { return widen(narrow<T>(x)); }

// V elements to and from float32. V is 8 (16-byte accesses; the address must be aligned to 16 bytes) or 1.
template <int V>
__device__ __forceinline__ void load(const float* from, float (&to)[V]) {
  if constexpr (V == 8) {
    const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w, to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
  } else {
    to[0] = *from;
  }
}
template <int V>
__device__ __forceinline__ void load(const bf16* from, float (&to)[V]) {
  if constexpr (V == 8) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    const std::uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      to[2 * i] = __uint_as_float(pairs[i] << 16);
      to[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
    }
  } else {
    to[0] = widen(*from);
  }
}
template <int V>
__device__ __forceinline__ void store(float* to, const float (&from)[V]) {
  if constexpr (V == 8) {
    reinterpret_cast<float4*>(to)[0] = float4{from[0], from[1], from[2], from[3]};
    reinterpret_cast<float4*>(to)[1] = float4{from[4], from[5], from[6], from[7]};
  } else {
    *to = from[0];
  }
}
template <int V>
__device__ __forceinline__ void store(bf16* to, const float (&from)[V]) {
  if constexpr (V == 8) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      pairs[i] = narrow<bf16>(from[2 * i]).bits | static_cast<std::uint32_t>(narrow<bf16>(from[2 * i + 1]).bits) << 16;
    *reinterpret_cast<uint4*>(to) = uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
  } else {
    *to = narrow<bf16>(from[0]);
  }
}

// Sum over `Lanes` neighbouring lanes (a power of two), in every one of them. All lanes of the warp must call it.
template <int Lanes = kWarp>
__device__ __forceinline__ float sum_over_lanes(float x) {
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}
__device__ __forceinline__ float most_of_lanes(float x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}

// Columns that a lane holds of a row: vector n of lane l starts at column (32 n + l) V. N vectors a lane.
template <int V>
__device__ __forceinline__ int column_of(int vector, int lane) { return (vector * kWarp + lane) * V; }

template <class T, int V, int N>
__device__ __forceinline__ void load_row(const T* row, int width, int lane, float (&to)[N][V]) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const int column = column_of<V>(n, lane);
    if (column < width) {
      load<V>(row + column, to[n]);
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v) to[n][v] = 0;
    }
  }
}
template <class T, int V, int N>
__device__ __forceinline__ void store_row(T* row, int width, int lane, const float (&from)[N][V]) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const int column = column_of<V>(n, lane);
    if (column < width) store<V>(row + column, from[n]);
  }
}

}  // namespace caddie::ops::cuda
