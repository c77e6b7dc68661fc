// Products of at most a few dozen rows with a weight, as generation has them, with all that surrounds them: the residual mix and
// the norm before, activation, residual sum or capped logits behind. Latency decides there: in bfloat16 a block's weights are on
// their way to registers before the launch ahead has ended, and sixteen rows are just a tile of the tensor cores. The float32 kernel
// is for comparisons: a block takes four outputs of sixteen rows, a thread four rows of a share of the inputs.
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

// What lies behind the product.
template <class T>
__device__ __forceinline__ void finish(const FewRows& a, Index row, Index column, float product, float scale, float residual) {
  float value = rounded<T>(product);
  const Index place = row * a.outputs + column;
  if (a.logits != nullptr) {
    a.logits[place] = a.cap > 0 ? a.cap * tanhf(value / a.cap) : value;
    return;
  }
  if (a.activate) value = value > 0 ? value * value : a.slope * value * (a.slope * value);
  if (a.scale != nullptr) value = residual + scale * value;
  static_cast<T*>(a.out)[place] = narrow<T>(value);
}

__global__ void __launch_bounds__(kMostThreads) few_rows_kernel(FewRows a) {
  __shared__ float sums[kMostThreads / kWarp][kColumns + 1][kTogether];
  let_next_begin();
  wait_for_previous();
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
  const float* weight = static_cast<const float*>(a.weight) + first * a.inputs;

  float sum[kColumns + 1][kTogether] = {};  // the last one: of squares
  for (Index at = static_cast<Index>(thread) * kVector; at < a.inputs; at += of_group * kVector) {
    float w[kColumns][kVector], value[kTogether][kVector];
#pragma unroll
    for (int r = 0; r < kTogether; ++r) load<kVector>(static_cast<const float*>(a.x) + row[r] + at, value[r]);
    if (a.x0 != nullptr) {
      float other[kTogether][kVector], of_x[kVector], of_x0[kVector];
#pragma unroll
      for (int r = 0; r < kTogether; ++r) load<kVector>(static_cast<const float*>(a.x0) + row[r] + at, other[r]);
      load<kVector>(a.mix + at, of_x);
      load<kVector>(a.mix + a.inputs + at, of_x0);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) load<kVector>(weight + (c < columns ? c : columns - 1) * a.inputs + at, w[c]);
#pragma unroll
      for (int r = 0; r < kTogether; ++r) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) value[r][v] = of_x[v] * value[r][v] + of_x0[v] * other[r][v];
        if (first == 0 && a.mixed != nullptr && group * kTogether + r < rows)
          store<kVector>(static_cast<float*>(a.mixed) + row[r] + at, value[r]);
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
  finish<float>(a, first_row + r, first + c, product, a.scale != nullptr ? a.scale[first + c] : 0.0f,
                a.scale != nullptr ? static_cast<const float*>(a.residual)[(first_row + r) * a.outputs + first + c] : 0.0f);
}

// ---- bfloat16: sixteen rows by 8 `Tiles` outputs a block, whose warps share the inputs in pieces of 32. A lane takes 16 bytes of
// one weight row and of two rows of x at the same inputs, which are the operands of two steps of the tensor cores in an order of the
// inputs that both agree on.
constexpr int kTile = 8, kPiece = 32, kTileSums = kRows * kTile;

__device__ __forceinline__ uint4 words_at(const bf16* from, bool there) {
  uint4 words{0, 0, 0, 0};
  if (there) words = *reinterpret_cast<const uint4*>(from);
  return words;
}
__device__ __forceinline__ void widen(const uint4& words, float (&to)[kVector]) { load<kVector>(reinterpret_cast<const bf16*>(&words), to); }
__device__ __forceinline__ void mix_into(uint4& x, const uint4& x0, const float (&of_x)[kVector], const float (&of_x0)[kVector]) {
  float value[kVector], other[kVector];
  widen(x, value);
  widen(x0, other);
#pragma unroll
  for (int v = 0; v < kVector; ++v) value[v] = of_x[v] * value[v] + of_x0[v] * other[v];
  store<kVector>(reinterpret_cast<bf16*>(&x), value);
}
__device__ __forceinline__ float sum_of_squares(const uint4& words) {
  float value[kVector], sum = 0;
  widen(words, value);
#pragma unroll
  for (int v = 0; v < kVector; ++v) sum += value[v] * value[v];
  return sum;
}

// The first `Held` pieces of a warp are loaded before the wait. row_tile: rows of a block, 8 or 16.
template <int Tiles, int Held, bool Mixes>
__global__ void __launch_bounds__(kThreads, 2) few_rows_tensor_kernel(FewRows a, int row_tile) {
  constexpr int kItems = (Tiles * kTileSums + kThreads - 1) / kThreads, kTurn = Held * kWarps * kPiece;
  constexpr int kChains = Tiles == 1 ? 2 : 1;  // sums that do not wait for each other
  __shared__ float sums[kWarps][Tiles * kTileSums], squares[kWarps][kRows];
  let_next_begin();
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = lane / 4, from = warp * kPiece + lane % 4 * kVector;
  const int inputs = static_cast<int>(a.inputs), outputs = static_cast<int>(a.outputs);
  const int column_blocks = (outputs + Tiles * kTile - 1) / (Tiles * kTile), block = static_cast<int>(blockIdx.x);
  const int first_row = block / column_blocks * row_tile, first = block % column_blocks * (Tiles * kTile);
  const int left = static_cast<int>(a.rows) - first_row, rows = left < row_tile ? left : row_tile;

  uint4 weights[Tiles][Held];
  const auto load_weights = [&](int begin) {
#pragma unroll
    for (int t = 0; t < Tiles; ++t) {
      const int column = first + t * kTile + group;  // one that is not there reads the last, and is not written
      const bf16* row = static_cast<const bf16*>(a.weight) + (column < outputs ? column : outputs - 1) * a.inputs;
#pragma unroll
      for (int h = 0; h < Held; ++h) {
        const int at = begin + h * kWarps * kPiece + from;
        weights[t][h] = words_at(row + at, at < inputs);
      }
    }
  };
  load_weights(0);
  int item_row[kItems], item_column[kItems];
  bool there[kItems];
  float scale[kItems], residual[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int item = static_cast<int>(threadIdx.x) + i * kThreads;
    item_row[i] = item % kTileSums / kTile, item_column[i] = first + item / kTileSums * kTile + item % kTile;
    there[i] = item < Tiles * kTileSums && item_row[i] < rows && item_column[i] < outputs;
    scale[i] = there[i] && a.scale != nullptr ? a.scale[item_column[i]] : 0.0f;
    residual[i] = 0;
  }
  if (Mixes && group == 0) {
    for (int at = from; at < inputs; at += kWarps * kPiece) prefetch(a.mix + at), prefetch(a.mix + inputs + at);
  }
  wait_for_previous();

  const bool low_there = group < rows, high_there = group + kTile < rows;
  const int low_row = (first_row + group) * inputs, high_row = low_row + kTile * inputs;
  float sum[Tiles][kChains][4] = {}, low_squares = 0, high_squares = 0;
  for (int begin = 0; begin < inputs; begin += kTurn) {
    if (begin > 0) load_weights(begin);
    uint4 low[Held], high[Held];
#pragma unroll
    for (int h = 0; h < Held; ++h) {
      const int at = begin + h * kWarps * kPiece + from;
      low[h] = words_at(static_cast<const bf16*>(a.x) + low_row + at, low_there && at < inputs);
      high[h] = words_at(static_cast<const bf16*>(a.x) + high_row + at, high_there && at < inputs);
    }
    if (begin == 0 && a.scale != nullptr) {
#pragma unroll
      for (int i = 0; i < kItems; ++i)
        if (there[i]) residual[i] = widen(static_cast<const bf16*>(a.residual)[(first_row + item_row[i]) * outputs + item_column[i]]);
    }
    if constexpr (Mixes) {
#pragma unroll
      for (int h = 0; h < Held; ++h) {
        const int at = begin + h * kWarps * kPiece + from;
        if (at < inputs) {
          float of_x[kVector], of_x0[kVector];
          load<kVector>(a.mix + at, of_x);
          load<kVector>(a.mix + inputs + at, of_x0);
          mix_into(low[h], words_at(static_cast<const bf16*>(a.x0) + low_row + at, low_there), of_x, of_x0);
          mix_into(high[h], words_at(static_cast<const bf16*>(a.x0) + high_row + at, high_there), of_x, of_x0);
          if (first == 0 && a.mixed != nullptr) {
            if (low_there) *reinterpret_cast<uint4*>(static_cast<bf16*>(a.mixed) + low_row + at) = low[h];
            if (high_there) *reinterpret_cast<uint4*>(static_cast<bf16*>(a.mixed) + high_row + at) = high[h];
          }
        }
      }
    }
#pragma unroll
    for (int h = 0; h < Held; ++h) {
      if (a.norm) low_squares += sum_of_squares(low[h]), high_squares += sum_of_squares(high[h]);
#pragma unroll
      for (int t = 0; t < Tiles; ++t) {
        tile_product(sum[t][0], low[h].x, high[h].x, low[h].y, high[h].y, weights[t][h].x, weights[t][h].y);
        tile_product(sum[t][kChains - 1], low[h].z, high[h].z, low[h].w, high[h].w, weights[t][h].z, weights[t][h].w);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < Tiles; ++t) {
    float* to = sums[warp] + t * kTileSums + group * kTile + lane % 4 * 2;
    if constexpr (kChains > 1) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[t][0][i] += sum[t][1][i];
    }
    to[0] = sum[t][0][0], to[1] = sum[t][0][1];
    to[kTile * kTile] = sum[t][0][2], to[kTile * kTile + 1] = sum[t][0][3];
  }
  low_squares = sum_over_lanes<4>(low_squares), high_squares = sum_over_lanes<4>(high_squares);
  if (lane % 4 == 0) squares[warp][group] = low_squares, squares[warp][group + kTile] = high_squares;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (!there[i]) continue;
    float product = 0, of_row = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      product += sums[w][static_cast<int>(threadIdx.x) + i * kThreads];
      of_row += squares[w][item_row[i]];
    }
    if (a.norm) product *= rsqrtf(of_row / static_cast<float>(inputs) + kEpsilon);
    finish<bf16>(a, first_row + item_row[i], item_column[i], product, scale[i], residual[i]);
  }
}

void tensor_rows(const Launch& l, const FewRows& a) {
  constexpr Index kProcessors = 132;
  const auto blocks = [&](int tiles, int row_tile) { return blocks_for(a.outputs, tiles * kTile) * blocks_for(a.rows, row_tile); };
  const auto start = [&](auto tiles, auto held, auto mixes) {
    const int row_tile = blocks(tiles(), kRows) <= kProcessors / 2 ? kTile : kRows;
    launch_early(l.early, few_rows_tensor_kernel<tiles(), held(), mixes()>, blocks(tiles(), row_tile), kThreads, l.stream, a, row_tile);
  };
  const auto few_inputs = [&](auto mixes) {
    if (blocks(1, kRows) <= kProcessors) return start(Number<1>{}, Number<2>{}, mixes);
    if (blocks(2, kRows) <= kProcessors) return start(Number<2>{}, Number<2>{}, mixes);
    start(Number<4>{}, Number<2>{}, mixes);
  };
  if (a.x0 != nullptr) return few_inputs(std::true_type{});
  if (a.inputs <= 2 * kWarps * kPiece) return few_inputs(std::false_type{});
  start(Number<1>{}, Number<7>{}, std::false_type{});
}

}  // namespace

bool few_rows_fit(Index rows, Index inputs) {
  return rows > 0 && rows <= 64 && inputs > 0 && inputs % kVector == 0 && inputs <= (1 << 20);
}

void few_rows(const Launch& l, const FewRows& a) {
  if (l.bfloat16) return tensor_rows(l, a);
  const Index blocks = blocks_for(a.rows, kRows) * blocks_for(a.outputs, kColumns);
  const Index wanted = blocks_for(a.inputs / kVector, kWarp) * kWarp, most = kMostThreads / kGroups;
  const int threads = kGroups * static_cast<int>(wanted < most ? wanted : most);
  launch_early(l.early, few_rows_kernel, blocks, threads, l.stream, a);
}

}  // namespace caddie::ops::cuda
