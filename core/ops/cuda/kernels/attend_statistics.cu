// What attend_backward.cu asks of rows before it begins: delta = sum over a head of gradient and values (Dao, 2022), the logarithms of
// the softmax's sums in powers of two, and zeros where it adds up. Bound: bytes.
#include "core/ops/cuda/kernels/kernels.h"

#ifdef __CUDACC__
#include "core/ops/cuda/kernels/simt.h"

namespace caddie::ops::cuda {
namespace {

// delta and log2 of the sums, side by side; and zeros where the queries' gradients are added up. A block has 32 rows, groups of eight
// lanes a row each.
constexpr int kHead = 64, kStatisticRows = 32;
constexpr float kLog2e = 1.4426950408889634f;
__global__ void __launch_bounds__(8 * kStatisticRows)
    statistics_kernel(const bf16* values, const bf16* gradient, const float* log_sum, int length, int heads, Index rows,
                      float* statistics, float4* query_sums) {
  const int group = static_cast<int>(threadIdx.x) / 8, lane = static_cast<int>(threadIdx.x) % 8;
  const Index row = static_cast<Index>(blockIdx.x) * kStatisticRows + group, zeros = static_cast<Index>(kStatisticRows) * heads * kHead / 4;
  for (Index i = threadIdx.x; i < zeros; i += 8 * kStatisticRows) query_sums[blockIdx.x * zeros + i] = make_float4(0, 0, 0, 0);
  const int batch = static_cast<int>(row / length), position = static_cast<int>(row % length);
  for (int head = 0; head < heads; ++head) {
    float x[8], g[8], sum = 0;
    load<8>(values + (row * heads + head) * kHead + lane * 8, x);
    load<8>(gradient + (row * heads + head) * kHead + lane * 8, g);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += x[i] * g[i];
    sum = sum_over_lanes<8>(sum);
    if (lane != 0) continue;
    const Index head_at = static_cast<Index>(batch) * heads + head;
    statistics[(head_at * 2 + 1) * length + position] = sum;
    statistics[head_at * 2 * length + position] = log_sum[head_at * length + position] * kLog2e;
  }
}

}  // namespace

void attend_statistics(const Launch& l, const AttendBackward& a) {
  const Index rows = a.batch * a.length;
  statistics_kernel<<<static_cast<unsigned>(rows / kStatisticRows), 8 * kStatisticRows, 0, static_cast<cudaStream_t>(l.stream)>>>(
      static_cast<const bf16*>(a.values), static_cast<const bf16*>(a.gradient), a.log_sum, static_cast<int>(a.length),
      static_cast<int>(a.heads), rows, a.statistics, reinterpret_cast<float4*>(a.query_sums));
}

}  // namespace caddie::ops::cuda

#else

namespace caddie::ops::cuda {
void attend_statistics(const Launch&, const AttendBackward&) {}
}  // namespace caddie::ops::cuda

#endif
