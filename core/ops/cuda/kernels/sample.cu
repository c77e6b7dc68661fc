// Picks the next token of each row by inversion, as core/base/sampling.h has it, and writes it where the next step reads it. All
// that changes from step to step lies in device memory, so that the launch can be recorded. A block takes a row.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr int kGroup = 16, kGroups = kThreads / kGroup;

__global__ void __launch_bounds__(kThreads) sample_kernel(Sample a) {
  __shared__ float most[kWarps];
  __shared__ double part[kThreads], before[kGroups + 1];
  __shared__ long long found[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  const Index row = static_cast<Index>(blockIdx.x), position = *a.position;
  const float* logits = a.logits + row * a.vocabulary;
  const Index each = (a.vocabulary + kThreads - 1) / kThreads;
  const Index begin = thread * each, rest = a.vocabulary - begin, end = begin + (rest < each ? (rest < 0 ? 0 : rest) : each);

  float top = -3.4e38f;
  for (Index i = begin; i < end; ++i) top = fmaxf(top, logits[i]);
  top = most_of_lanes(top);
  if (thread % kWarp == 0) most[thread / kWarp] = top;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) top = fmaxf(top, most[w]);

  const auto weight = [&](Index i) {
    return exp((static_cast<double>(logits[i]) - static_cast<double>(top)) / a.temperature);
  };
  Index choice = -1;
  if (a.temperature == 0) {  // the first of the likeliest
    for (Index i = end; i > begin; --i)
      if (logits[i - 1] == top) choice = i - 1;
    found[thread] = choice;
    __syncthreads();
    for (int i = 0; i < thread; ++i)
      if (found[i] >= 0) choice = -1;
  } else {
    // Sums that grow from thread to thread: of a thread, of a group, over the groups.
    double sum = 0;
    for (Index i = begin; i < end; ++i) sum += weight(i);
    part[thread] = sum;
    __syncthreads();
    if (thread < kGroups)
      for (int i = 1; i < kGroup; ++i) part[thread * kGroup + i] += part[thread * kGroup + i - 1];
    __syncthreads();
    if (thread == 0) {
      before[0] = 0;
      for (int g = 0; g < kGroups; ++g) before[g + 1] = before[g] + part[g * kGroup + kGroup - 1];
    }
    __syncthreads();
    const int group = thread / kGroup;
    const double level = a.levels[position * a.rows + row] * (before[kGroups] * (1 - 4.440892098500626e-16));
    double seen = before[group] + (thread % kGroup > 0 ? part[thread - 1] : 0);
    if (begin < end && seen <= level && before[group] + part[thread] > level) {
      choice = begin;
      for (seen += weight(choice); seen <= level && choice + 1 < end; seen += weight(choice)) ++choice;
    }
  }
  if (choice < 0) return;
  a.next[row] = choice;
  if (a.tokens != nullptr && position + 1 < a.length) a.tokens[row * a.length + position + 1] = choice;
}

}  // namespace

void sample(const Launch& l, const Sample& a) { launch(sample_kernel, a.rows, kThreads, l.stream, a); }

}  // namespace caddie::ops::cuda
