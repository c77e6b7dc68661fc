// Picks the next token of each row by inversion, as core/base/sampling.h has it, writes it where the next step reads it, and moves
// the position on. All that changes from step to step lies in device memory, so that the launches can be recorded. A block takes a row.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / kWarp;
constexpr float kNobody = -1e9f;

__device__ __forceinline__ double double_sum(double x) {
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

__global__ void __launch_bounds__(kMostThreads) sample_kernel(Sample a) {
  __shared__ float most[kMostWarps], first[kMostWarps];
  __shared__ double totals[kMostWarps];
  let_next_begin();
  wait_for_previous();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int threads = static_cast<int>(blockDim.x), warps = threads / kWarp;
  const Index row = static_cast<Index>(blockIdx.x), position = *a.position;
  const float* logits = a.logits + row * a.vocabulary;
  const Index each = (a.vocabulary + threads - 1) / threads;
  const Index begin = thread * each, rest = a.vocabulary - begin, end = begin + (rest < each ? (rest < 0 ? 0 : rest) : each);
  const double level = a.temperature == 0 ? 0 : a.levels[position * a.rows + row];

  float top = -3.4e38f;
#pragma unroll 4
  for (Index i = begin; i < end; ++i) top = fmaxf(top, logits[i]);
  top = most_of_lanes(top);
  if (lane == 0) most[warp] = top;
  __syncthreads();
  top = most_of_lanes(lane < warps ? most[lane] : top);

  const auto weight = [&](Index i) {
    return exp((static_cast<double>(logits[i]) - static_cast<double>(top)) / a.temperature);
  };
  // Whether the choice may lie with this thread; the first one of which that holds has it.
  bool mine = false;
  double seen = 0, wanted = 0;
  if (a.temperature == 0) {  // the first of the likeliest
    for (Index i = begin; i < end; ++i) mine = mine || logits[i] == top;
  } else {
    double sum = 0;
#pragma unroll 4
    for (Index i = begin; i < end; ++i) sum += weight(i);
    double total = sum;  // over ever more lanes; `seen`: over the lanes before
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const double other = __shfl_xor_sync(0xffffffffu, total, distance);
      if ((lane & distance) != 0) seen += other;
      total += other;
    }
    if (lane == 0) totals[warp] = total;
    __syncthreads();
    const double part = lane < warps ? totals[lane] : 0;
    seen += double_sum(lane < warp ? part : 0);
    wanted = level * (double_sum(part) * (1 - 4.440892098500626e-16));
    // The last thread with tokens has what rounding leaves over.
    mine = begin < end && (seen + sum > wanted || end == a.vocabulary);
  }
  const float of_warp = most_of_lanes(mine ? static_cast<float>(-thread) : kNobody);
  if (lane == 0) first[warp] = of_warp;
  __syncthreads();
  if (most_of_lanes(lane < warps ? first[lane] : kNobody) != static_cast<float>(-thread)) return;

  Index choice = begin;
  if (a.temperature == 0) {
    while (logits[choice] != top && choice + 1 < end) ++choice;
  } else {
    for (seen += weight(choice); seen <= wanted && choice + 1 < end; seen += weight(choice)) ++choice;
  }
  a.next[row] = choice;
  if (a.tokens != nullptr && position + 1 < a.length) a.tokens[row * a.length + position + 1] = choice;
}

__global__ void advance_kernel(std::int64_t* position) {
  let_next_begin();
  wait_for_previous();
  if (threadIdx.x == 0) ++*position;
}

}  // namespace

void sample(const Launch& l, const Sample& a) {
  launch_early(l.early, sample_kernel, a.rows, a.vocabulary > 1024 ? kMostThreads : kThreads, l.stream, a);
  launch_early(l.early, advance_kernel, 1, kWarp, l.stream, a.position);
}

}  // namespace caddie::ops::cuda
