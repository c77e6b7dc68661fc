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

// With `early` (and from sm_90 on) the kernel may begin when all blocks of the launch ahead of it have called let_next_begin() or
// have ended. Every block of such a kernel must call wait_for_previous(): what comes before that call may read only what no launch
// of the chain writes, and write nothing. As each waits for the one ahead of it, a wait is one for the whole chain. What is launched
// plainly behind such kernels, or lets nothing begin, keeps the order of the stream.
template <class... P, class... A>
void launch_early(bool early, void (*kernel)(P...), Index blocks, int threads, void* stream, const A&... arguments) {
  if (early) {  // code for older devices does not wait
    cudaFuncAttributes known{};
    early = cudaFuncGetAttributes(&known, kernel) == cudaSuccess && known.ptxVersion >= 90;
  }
  if (!early) return launch(kernel, blocks, threads, stream, arguments...);
  if (blocks <= 0) return;
  cudaLaunchAttribute begin{};
  begin.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  begin.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &begin;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, arguments...);  // launch_error() has its error
}
__device__ __forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// A hint: changes nothing, and may be given for what is being written.
__device__ __forceinline__ void prefetch(const void* address) { asm volatile("prefetch.global.L2 [%0];" ::"l"(address)); }

// Tensor cores: sums [16, 8] += a [16, 16] b [16, 8] of bfloat16 pairs. Lane l has the sums of row l / 4 (the first two) and l / 4 + 8,
// columns 2 (l % 4) and the next; of a the rows l / 4 (`low`) and l / 4 + 8 (`high`), pairs l % 4 (0) and l % 4 + 4 (1); of b the
// column l / 4, the same pairs.
__device__ __forceinline__ void tile_product(float (&sums)[4], std::uint32_t low0, std::uint32_t high0, std::uint32_t low1,
                                             std::uint32_t high1, std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(low0), "r"(high0), "r"(low1), "r"(high1), "r"(b0), "r"(b1));
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
