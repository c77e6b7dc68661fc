// Products of at most a few dozen rows with a weight, as generation has them, with all that surrounds them: the residual mix and
// the norm before, activation, residual sum or capped logits behind. Memory decides there, and launches, so the sums are plain
// float32 ones: a block takes four outputs of sixteen rows, its threads share the inputs.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon
constexpr int kRows = 16, kColumns = 4, kVector = 8, kAtOnce = 4;

template <int Half>
__device__ __forceinline__ void halve(float (&values)[kRows], int lane) {
  const bool upper = (lane & (2 * Half)) != 0;
#pragma unroll
  for (int i = 0; i < Half; ++i) {
    const float away = upper ? values[i] : values[i + Half], kept = upper ? values[i + Half] : values[i];
    values[i] = kept + __shfl_xor_sync(0xffffffffu, away, 2 * Half);
  }
}
// Sums over the lanes of 16 values at once: lane l gets that of value l / 2.
__device__ __forceinline__ float sum_of_sixteen(float (&values)[kRows], int lane) {
  halve<8>(values, lane);
  halve<4>(values, lane);
  halve<2>(values, lane);
  halve<1>(values, lane);
  return values[0] + __shfl_xor_sync(0xffffffffu, values[0], 1);
}

template <class T>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(FewRows a) {
  __shared__ float sums[kWarps][kColumns + 1][kRows];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int threads = static_cast<int>(blockDim.x), warps = threads / kWarp;
  const Index column_blocks = (a.outputs + kColumns - 1) / kColumns;
  const Index first_row = static_cast<Index>(blockIdx.x) / column_blocks * kRows;
  const Index first = static_cast<Index>(blockIdx.x) % column_blocks * kColumns;
  const int rows = a.rows - first_row < kRows ? static_cast<int>(a.rows - first_row) : kRows;
  const int columns = a.outputs - first < kColumns ? static_cast<int>(a.outputs - first) : kColumns;
  const T* x = static_cast<const T*>(a.x) + first_row * a.inputs;
  const T* x0 = static_cast<const T*>(a.x0) + (a.x0 != nullptr ? first_row * a.inputs : 0);
  T* mixed = static_cast<T*>(a.mixed) + (a.mixed != nullptr ? first_row * a.inputs : 0);
  const T* weight = static_cast<const T*>(a.weight) + first * a.inputs;

  float sum[kColumns + 1][kRows] = {};  // the last one: of squares
  for (Index at = static_cast<Index>(threadIdx.x) * kVector; at < a.inputs; at += threads * kVector) {
    float w[kColumns][kVector], of_x[kVector] = {}, of_x0[kVector] = {};
#pragma unroll
    for (int c = 0; c < kColumns; ++c) load<kVector>(weight + (c < columns ? c : columns - 1) * a.inputs + at, w[c]);
    if (a.x0 != nullptr) {
      load<kVector>(a.mix + at, of_x);
      load<kVector>(a.mix + a.inputs + at, of_x0);
    }
    // Rows that are not there read the last one: without branches all loads are under way before the first is used.
#pragma unroll
    for (int part = 0; part < kRows; part += kAtOnce) {
      float value[kAtOnce][kVector];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) load<kVector>(x + (part + r < rows ? part + r : rows - 1) * a.inputs + at, value[r]);
      if (a.x0 != nullptr) {
        float other[kAtOnce][kVector];
#pragma unroll
        for (int r = 0; r < kAtOnce; ++r) load<kVector>(x0 + (part + r < rows ? part + r : rows - 1) * a.inputs + at, other[r]);
#pragma unroll
        for (int r = 0; r < kAtOnce; ++r) {
#pragma unroll
          for (int v = 0; v < kVector; ++v) value[r][v] = rounded<T>(of_x[v] * value[r][v] + of_x0[v] * other[r][v]);
          if (first == 0 && a.mixed != nullptr && part + r < rows) store<kVector>(mixed + (part + r) * a.inputs + at, value[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
          sum[kColumns][part + r] += value[r][v] * value[r][v];
#pragma unroll
          for (int c = 0; c < kColumns; ++c) sum[c][part + r] += value[r][v] * w[c][v];
        }
      }
    }
  }
#pragma unroll
  for (int c = 0; c <= kColumns; ++c) {
    const float total = sum_of_sixteen(sum[c], lane);
    if (lane % 2 == 0) sums[warp][c][lane / 2] = total;
  }
  __syncthreads();

  for (int i = static_cast<int>(threadIdx.x); i < kRows * kColumns; i += threads) {
    const int r = i / kColumns, c = i % kColumns;
    if (r >= rows || c >= columns) continue;
    float product = 0, squares = 0;
    for (int w = 0; w < warps; ++w) product += sums[w][c][r], squares += sums[w][kColumns][r];
    if (a.norm) product *= rsqrtf(squares / static_cast<float>(a.inputs) + kEpsilon);
    float value = rounded<T>(product);
    const Index column = first + c, place = (first_row + r) * a.outputs + column;
    if (a.logits != nullptr) {
      a.logits[place] = a.cap > 0 ? a.cap * tanhf(value / a.cap) : value;
      continue;
    }
    if (a.activate) value = value > 0 ? value * value : a.slope * value * (a.slope * value);
    if (a.scale != nullptr) value = widen(static_cast<const T*>(a.residual)[place]) + a.scale[column] * value;
    static_cast<T*>(a.out)[place] = narrow<T>(value);
  }
}

}  // namespace

bool few_rows_fit(Index rows, Index inputs) { return rows > 0 && rows <= 64 && inputs > 0 && inputs % kVector == 0; }

void few_rows(const Launch& l, const FewRows& a) {
  const Index blocks = blocks_for(a.rows, kRows) * blocks_for(a.outputs, kColumns);
  const Index wanted = blocks_for(a.inputs / kVector, kWarp) * kWarp;
  const int threads = static_cast<int>(wanted < kThreads ? wanted : kThreads);
  with_type(l.bfloat16, [&](auto element) { launch(few_rows_kernel<decltype(element)>, blocks, threads, l.stream, a); });
}

}  // namespace caddie::ops::cuda
