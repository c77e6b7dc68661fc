// Products of at most a few dozen rows with a weight, as generation has them, with all that surrounds them: the residual mix and
// the norm before, activation, residual sum or capped logits behind. Memory decides there, and launches, so the sums are plain
// float32 ones: a block takes four outputs of sixteen rows, a thread four rows of a share of the inputs.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon
constexpr int kRows = 16, kColumns = 4, kVector = 8;
constexpr int kTogether = 4, kGroups = kRows / kTogether;  // rows of a thread, and the groups of threads that this makes
constexpr int kMostThreads = 512;

template <int Half>
__device__ __forceinline__ void halve(float (&values)[kTogether], int lane) {
  const bool upper = (lane & (8 * Half)) != 0;
#pragma unroll
  for (int i = 0; i < Half; ++i) {
    const float away = upper ? values[i] : values[i + Half], kept = upper ? values[i + Half] : values[i];
    values[i] = kept + __shfl_xor_sync(0xffffffffu, away, 8 * Half);
  }
}
// Sums over the lanes of four values at once: lane l gets that of value l / 8.
__device__ __forceinline__ float sum_of_four(float (&values)[kTogether], int lane) {
  halve<2>(values, lane);
  halve<1>(values, lane);
  return sum_over_lanes<8>(values[0]);
}

template <class T>
__global__ void __launch_bounds__(kMostThreads) few_rows_kernel(FewRows a) {
  __shared__ float sums[kMostThreads / kWarp][kColumns + 1][kTogether];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int threads = static_cast<int>(blockDim.x), of_group = threads / kGroups, warps = of_group / kWarp;
  const int group = static_cast<int>(threadIdx.x) / of_group, thread = static_cast<int>(threadIdx.x) % of_group;
  const Index column_blocks = (a.outputs + kColumns - 1) / kColumns;
  const Index first_row = static_cast<Index>(blockIdx.x) / column_blocks * kRows;
  const Index first = static_cast<Index>(blockIdx.x) % column_blocks * kColumns;
  const int rows = a.rows - first_row < kRows ? static_cast<int>(a.rows - first_row) : kRows;
  const int columns = a.outputs - first < kColumns ? static_cast<int>(a.outputs - first) : kColumns;
  // Rows and outputs that are not there read the last ones: without branches all loads are under way before the first is used.
  Index row[kTogether];
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
    const int wanted = group * kTogether + r;
    row[r] = (first_row + (wanted < rows ? wanted : rows - 1)) * a.inputs;
  }
  const T* weight = static_cast<const T*>(a.weight) + first * a.inputs;

  float sum[kColumns + 1][kTogether] = {};  // the last one: of squares
  for (Index at = static_cast<Index>(thread) * kVector; at < a.inputs; at += of_group * kVector) {
    float w[kColumns][kVector], value[kTogether][kVector];
#pragma unroll
    for (int r = 0; r < kTogether; ++r) load<kVector>(static_cast<const T*>(a.x) + row[r] + at, value[r]);
    if (a.x0 != nullptr) {
      float other[kTogether][kVector], of_x[kVector], of_x0[kVector];
#pragma unroll
      for (int r = 0; r < kTogether; ++r) load<kVector>(static_cast<const T*>(a.x0) + row[r] + at, other[r]);
      load<kVector>(a.mix + at, of_x);
      load<kVector>(a.mix + a.inputs + at, of_x0);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) load<kVector>(weight + (c < columns ? c : columns - 1) * a.inputs + at, w[c]);
#pragma unroll
      for (int r = 0; r < kTogether; ++r) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) value[r][v] = rounded<T>(of_x[v] * value[r][v] + of_x0[v] * other[r][v]);
        if (first == 0 && a.mixed != nullptr && group * kTogether + r < rows)
          store<kVector>(static_cast<T*>(a.mixed) + row[r] + at, value[r]);
      }
    } else {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) load<kVector>(weight + (c < columns ? c : columns - 1) * a.inputs + at, w[c]);
    }
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        sum[kColumns][r] += value[r][v] * value[r][v];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) sum[c][r] += value[r][v] * w[c][v];
      }
    }
  }
#pragma unroll
  for (int c = 0; c <= kColumns; ++c) {
    const float total = sum_of_four(sum[c], lane);
    if (lane % 8 == 0) sums[warp][c][lane / 8] = total;
  }
  __syncthreads();

  const int r = static_cast<int>(threadIdx.x) / kColumns, c = static_cast<int>(threadIdx.x) % kColumns;
  if (r >= rows || c >= columns) return;
  float product = 0, squares = 0;
  for (int w = r / kTogether * warps; w < (r / kTogether + 1) * warps; ++w)
    product += sums[w][c][r % kTogether], squares += sums[w][kColumns][r % kTogether];
  if (a.norm) product *= rsqrtf(squares / static_cast<float>(a.inputs) + kEpsilon);
  float value = rounded<T>(product);
  const Index column = first + c, place = (first_row + r) * a.outputs + column;
  if (a.logits != nullptr) {
    a.logits[place] = a.cap > 0 ? a.cap * tanhf(value / a.cap) : value;
    return;
  }
  if (a.activate) value = value > 0 ? value * value : a.slope * value * (a.slope * value);
  if (a.scale != nullptr) value = widen(static_cast<const T*>(a.residual)[place]) + a.scale[column] * value;
  static_cast<T*>(a.out)[place] = narrow<T>(value);
}

}  // namespace

bool few_rows_fit(Index rows, Index inputs) { return rows > 0 && rows <= 64 && inputs > 0 && inputs % kVector == 0; }

void few_rows(const Launch& l, const FewRows& a) {
  const Index blocks = blocks_for(a.rows, kRows) * blocks_for(a.outputs, kColumns);
  const Index wanted = blocks_for(a.inputs / kVector, kWarp) * kWarp, most = kMostThreads / kGroups;
  const int threads = kGroups * static_cast<int>(wanted < most ? wanted : most);
  with_type(l.bfloat16, [&](auto element) { launch(few_rows_kernel<decltype(element)>, blocks, threads, l.stream, a); });
}

}  // namespace caddie::ops::cuda
