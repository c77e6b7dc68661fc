// Kernels of weight matrices: absmax fake quantization of rows, exact in IEEE float32 (reference section 3).
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

// A block takes a row.
__global__ void __launch_bounds__(kThreads) fake_quantize_kernel(FakeQuantize a) {
  __shared__ float shared[kWarps];
  const float* from = a.weight + static_cast<Index>(blockIdx.x) * a.columns;
  float* to = a.out + static_cast<Index>(blockIdx.x) * a.columns;
  float most = 0;
  bool bad = false;  // a NaN must stay visible; fmaxf hides it
  for (Index i = threadIdx.x; i < a.columns; i += kThreads) {
    most = fmaxf(most, fabsf(from[i]));
    bad |= from[i] != from[i];
  }
  if (bad) most = __uint_as_float(0x7f800000u);
  most = most_of_lanes(most);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = most;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) most = fmaxf(most, shared[w]);
  const float step = __fdiv_rn(fmaxf(most, 1e-12f), a.top);
  for (Index i = threadIdx.x; i < a.columns; i += kThreads) {
    const float code = rintf(__fdiv_rn(from[i], step));
    const float inside = code != code ? code : fminf(fmaxf(code, -a.top), a.top);
    to[i] = __fmul_rn(inside, step);
  }
}

}  // namespace

void fake_quantize(const Launch& l, const FakeQuantize& a) {
  launch(fake_quantize_kernel, a.rows, kThreads, l.stream, a);
}

}  // namespace caddie::ops::cuda
