// What the kernels of attention on matrix units share: pairs of bfloat16 as products take and leave them, and turns.
#pragma once

#include "core/ops/cuda/kernels/hopper.cuh"
#include "core/ops/cuda/kernels/simt.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kLog2e = 1.4426950408889634f;

// Where a group is in its rounds over `Count` places.
template <int Count>
struct Turn {
  int at = 0;
  std::uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++at == Count) at = 0, parity ^= 1;
  }
};

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ std::uint32_t pair(float low, float high) {
  std::uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}
__device__ __forceinline__ float2 from_pair(std::uint32_t both) {
  return make_float2(__uint_as_float(both << 16), __uint_as_float(both & 0xffff0000u));
}

// Where a lane stores its part of four matrices of 8 x 8, in a tile of 128 bytes a row as the copy engine swizzles it: sixteen bytes
// are at place c ^ row % 8 of a row. `row`: 16 warp + lane % 16, `column`: lane / 16. For the next sixteen columns: ^ 32, without a
// carry.
__device__ __forceinline__ std::uint32_t matrices_at(const void* tile, int row, int column) {
  return hopper::shared_address(tile) + static_cast<std::uint32_t>(row * 128 + ((column ^ (row % 8)) << 4));
}
__device__ __forceinline__ void store_matrices(std::uint32_t to, const std::uint32_t* four) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(four[0]), "r"(four[1]), "r"(four[2]),
               "r"(four[3])
               : "memory");
}

}  // namespace
}  // namespace caddie::ops::cuda
