// From sizes known at run time to template arguments: the element's type, elements an access takes, accesses a lane makes.
#pragma once

#include <type_traits>

#include "core/ops/cuda/kernels/kernels.h"
#include "core/ops/cuda/kernels/simt.h"

namespace caddie::ops::cuda {

template <int N>
using Number = std::integral_constant<int, N>;

template <class Body>
void with_type(bool bfloat16, Body body) {
  if (bfloat16)
    body(bf16{});
  else
    body(float{});
}

// body(V, N): 32 N V columns hold the width.
template <class Body>
void with_row_shape(Index width, Body body) {
  if (width % 8 == 0) {
    const Index vectors = (width / 8 + kWarp - 1) / kWarp;
    if (vectors <= 1) return body(Number<8>{}, Number<1>{});
    if (vectors <= 2) return body(Number<8>{}, Number<2>{});
    if (vectors <= 4) return body(Number<8>{}, Number<4>{});
    return body(Number<8>{}, Number<8>{});
  }
  if (width <= 4 * kWarp) return body(Number<1>{}, Number<4>{});
  return body(Number<1>{}, Number<32>{});
}

template <class T>
const T* as(const void* p) { return static_cast<const T*>(p); }
template <class T>
T* as(void* p) { return static_cast<T*>(p); }

// What launch_error tells, where something before a launch failed. Of this thread.
inline thread_local const char* failed_before_launch = nullptr;

inline constexpr int kThreads = 256, kWarps = kThreads / kWarp;
inline Index blocks_for(Index tasks, Index tasks_a_block) { return (tasks + tasks_a_block - 1) / tasks_a_block; }
// A grid that an H100 holds at once when `each` blocks fit on a multiprocessor (at most 4: kPartials); the blocks then walk
// over the rows. The same on every device, because the order of sums depends on it.
inline Index capped(Index blocks, int each = 4) { return blocks < 132 * each ? blocks : 132 * each; }

// out[j] = sum over i of partials[i, j], in an order that depends on the sizes alone (core/ops/cuda/kernels/rows.cu).
void column_sums(void* stream, const float* partials, Index rows, Index columns, float* out);

}  // namespace caddie::ops::cuda
