// CUDA's words for one processor: the threads of a block are fibers that run in turn and stop at barriers and shuffles;
// blocks run one after the other. For tests of kernels' arithmetic only: no memory model, no speed.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>

#define __global__
#define __device__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace caddie::simt {

struct Place {
  unsigned x = 0;
};
extern Place thread_index, block_index, block_size, grid_size;

void block_barrier();
// What lane `lane ^ distance` of the same warp gave in the same call.
std::uint32_t exchanged(std::uint32_t value, int distance);
void run(long long blocks, int threads, const std::function<void()>& body);

// A launch that may begin early is put off, until the launch behind it waits: what that one reads too early is not there yet, and
// what it writes too early is lost. finish() does what is left. A kernel that ends without having waited is an error.
void run_early(long long blocks, int threads, const std::function<void()>& body);
void wait_for_previous();
void finish();

// The operands of one lane of a product of tiles: kernels/simt.h, tile_product.
struct TilePart {
  std::uint32_t low[2], high[2], other[2];
};
void tile_product(float (&sums)[4], const TilePart& part);

inline void check_aligned(const void* address) {
  if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) throw std::runtime_error("a vector access that is not aligned");
}

}  // namespace caddie::simt

#define threadIdx caddie::simt::thread_index
#define blockIdx caddie::simt::block_index
#define blockDim caddie::simt::block_size
#define gridDim caddie::simt::grid_size

namespace caddie::ops::cuda {

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  std::uint32_t x, y, z, w;
};

inline void __syncthreads() { caddie::simt::block_barrier(); }
inline float __uint_as_float(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline std::uint32_t __float_as_uint(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __shfl_xor_sync(unsigned, float x, int distance) {
  return __uint_as_float(caddie::simt::exchanged(__float_as_uint(x), distance));
}
inline double __shfl_xor_sync(unsigned, double x, int distance) {
  std::uint32_t words[2];
  std::memcpy(words, &x, 8);
  for (auto& word : words) word = caddie::simt::exchanged(word, distance);
  std::memcpy(&x, words, 8);
  return x;
}
inline void tile_product(float (&sums)[4], std::uint32_t low0, std::uint32_t high0, std::uint32_t low1, std::uint32_t high1,
                         std::uint32_t b0, std::uint32_t b1) {
  caddie::simt::tile_product(sums, {{low0, low1}, {high0, high1}, {b0, b1}});
}
inline void let_next_begin() {}
inline void wait_for_previous() { caddie::simt::wait_for_previous(); }
inline void prefetch(const void*) {}
// Round to nearest, ties to even.
inline std::uint16_t __float2bfloat16_rn(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if (x != x) return 0x7fff;
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline std::uint16_t __bfloat16_as_ushort(std::uint16_t bits) { return bits; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }

template <class... P, class... A>
void launch(void (*kernel)(P...), std::int64_t blocks, int threads, void*, const A&... arguments) {
  caddie::simt::run(blocks, threads, [&] { kernel(arguments...); });
}
template <class... P, class... A>
void launch_early(bool early, void (*kernel)(P...), std::int64_t blocks, int threads, void* stream, const A&... arguments) {
  if (!early) return launch(kernel, blocks, threads, stream, arguments...);
  caddie::simt::run_early(blocks, threads, [=] { kernel(arguments...); });
}

}  // namespace caddie::ops::cuda
