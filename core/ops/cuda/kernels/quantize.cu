// The two parts of GPTQ that are no matrix products: the Cholesky factor of a diagonal block with its inverse, and the columns of
// a block that are rounded one after the other. Float32, true divisions and roots (reference section 4).
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr int kBlock = static_cast<int>(kFactorBlock), kLanes = kWarp;

// A thread block takes the block of one matrix: Gauss steps on it and on the identity beside it.
__global__ void __launch_bounds__(kThreads) factor_kernel(FactorBlock a) {
  __shared__ float block[kBlock][kBlock + 1], inverse[kBlock][kBlock + 1];
  const int size = static_cast<int>(a.size), thread = static_cast<int>(threadIdx.x);
  float* from = a.matrix + static_cast<Index>(blockIdx.x) * a.matrix_stride;
  float* to = a.inverse + static_cast<Index>(blockIdx.x) * a.inverse_stride;
  for (int i = thread; i < size * size; i += kThreads) {
    block[i / size][i % size] = from[i / size * a.row_stride + i % size];
    inverse[i / size][i % size] = i / size == i % size ? 1.0f : 0.0f;
  }
  __syncthreads();
  bool good = true;
  for (int k = 0; k < size; ++k) {
    const float square = block[k][k];
    good = good && square > 0 && square < 3.0e38f;  // false for NaN
    const float pivot = __fsqrt_rn(square);
    __syncthreads();
    for (int i = thread; i < size; i += kThreads) {
      if (i >= k) block[i][k] = i == k ? pivot : __fdiv_rn(block[i][k], pivot);
      if (i <= k) inverse[k][i] = __fdiv_rn(inverse[k][i], pivot);
    }
    __syncthreads();
    for (int i = thread; i < (size - k - 1) * size; i += kThreads) {
      const int row = k + 1 + i / size, column = i % size;
      if (column <= k)
        inverse[row][column] -= block[row][k] * inverse[k][column];
      else if (column <= row)
        block[row][column] -= block[row][k] * block[column][k];
    }
    __syncthreads();
  }
  for (int i = thread; i < size * size; i += kThreads) {
    const int row = i / size, column = i % size;
    from[row * a.row_stride + column] = column <= row ? block[row][column] : 0.0f;
    to[row * a.inverse_row_stride + column] = column <= row ? inverse[row][column] : 0.0f;
  }
  if (thread == 0 && !good) a.good[blockIdx.x] = 0;
}

// A thread block takes 32 rows of a matrix, a lane each; column c of the block belongs to warp c mod 8, which keeps its
// values in registers. The error of a column reaches the other warps through shared memory.
__global__ void __launch_bounds__(kThreads) feedback_kernel(Feedback a) {
  constexpr int kOwn = kBlock / kWarps;
  __shared__ float upper[kBlock][kBlock], error[2][kLanes];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int count = static_cast<int>(a.count);
  const Index row_blocks = (a.rows + kLanes - 1) / kLanes;
  const Index matrix = static_cast<Index>(blockIdx.x) / row_blocks;
  const Index row = static_cast<Index>(blockIdx.x) % row_blocks * kLanes + lane;
  const bool in = row < a.rows;
  const float* factor = a.upper + matrix * a.columns * a.columns + a.first * a.columns + a.first;
  for (int i = static_cast<int>(threadIdx.x); i < count * count; i += kThreads)
    upper[i / count][i % count] = factor[i / count * a.columns + i % count];
  const Index offset = (matrix * a.columns + a.first) * a.rows + row;
  const float step = in ? a.steps[matrix * a.rows + row] : 1.0f;
  float values[kOwn];
#pragma unroll
  for (int k = 0; k < kOwn; ++k) {
    const int column = warp + k * kWarps;
    values[k] = in && column < count ? a.values[offset + column * a.rows] : 0.0f;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    for (int owner = 0; owner < kWarps; ++owner) {
      const int column = i * kWarps + owner;
      if (column >= count) break;
      if (warp == owner) {
        const float level = rintf(fminf(fmaxf(__fdiv_rn(values[i], step), -a.top), a.top));
        const float missed = __fdiv_rn(__fsub_rn(values[i], __fmul_rn(level, step)), upper[column][column]);
        error[column % 2][lane] = missed;
        if (in) {
          a.errors[offset + column * a.rows] = missed;
          a.codes[offset + column * a.rows] = static_cast<signed char>(level);
        }
      }
      __syncthreads();
      const float missed = error[column % 2][lane];
#pragma unroll
      for (int k = i; k < kOwn; ++k) {
        const int later = warp + k * kWarps;
        if (later > column && later < count) values[k] -= upper[column][later] * missed;
      }
    }
  }
}

}  // namespace

void factor_block(const Launch& l, const FactorBlock& a) { launch(factor_kernel, a.matrices, kThreads, l.stream, a); }

void feedback(const Launch& l, const Feedback& a) {
  launch(feedback_kernel, a.matrices * blocks_for(a.rows, kLanes), kThreads, l.stream, a);
}

}  // namespace caddie::ops::cuda
