// Products x W^T of tall x and small W whose results are finished in registers (epilogues.cuh), on the matrix units of compute
// capability 9.0. A block keeps 128 rows of W in shared memory for good, x streams past: one thread copies, four groups of four
// warps take tiles in turn: while three finish theirs, the fourth one's products run.
// Bound: 2 rows inputs outputs operations, and x once (from the L2 cache for all but one column of tiles), and what the epilogue
// moves. On an H100 the products alone run at 750 TFLOP/s. With two groups of twice the rows they waited for the epilogues, which
// are latency: few instructions of a warp at once.
#include "core/ops/cuda/kernels/kernels.h"

#ifdef __CUDACC__
#include <algorithm>

#include "core/ops/cuda/kernels/epilogues.cuh"
#include "core/ops/cuda/kernels/hopper.cuh"
#include "core/ops/cuda/kernels/tile_maps.cuh"

namespace caddie::ops::cuda {
namespace {

constexpr int kStep = 64;  // columns of x a copy
constexpr int kMostSteps = 8, kStages = 12, kMostGroups = 4;
// Of the 65,536 that a block starts with: 96 a thread for five groups of warps, 128 for four.
constexpr int kCopyRegisters = 24;
template <int Groups>
constexpr int kProductRegisters = Groups == 4 ? 112 : 160;
constexpr int kWeightBytes = kTileColumns * kStep * 2, kTileBytes = kTileRows * kStep * 2;

struct Shared {
  alignas(1024) unsigned char weight[kMostSteps][kWeightBytes];
  alignas(1024) unsigned char x[kStages][kTileBytes];
  std::uint64_t weight_there, there[kStages], free[kStages], multiplied[kMostGroups];
};

struct Work {
  Index rows;
  int outputs, steps, row_tiles, column_tiles;
  int shares;  // block b: column tile b % column_tiles, every shares-th row tile from b / column_tiles on
};

__device__ __forceinline__ void copy_tiles(Shared& shared, const CUtensorMap& x, const CUtensorMap& weight, const Work& work,
                                           int column, int first) {
  hopper::expect_bytes(&shared.weight_there, static_cast<std::uint32_t>(work.steps) * kWeightBytes);
  for (int i = 0; i < work.steps; ++i)
    hopper::load_tile(shared.weight[i], &weight, {i * kStep, 0, 0, 0, column / 32}, &shared.weight_there);
  int stage = 0;
  std::uint32_t round = 0;
  for (int tile = first; tile < work.row_tiles; tile += work.shares)
    for (int i = 0; i < work.steps; ++i) {
      hopper::wait_for(&shared.free[stage], (round & 1) ^ 1);
      hopper::expect_bytes(&shared.there[stage], kTileBytes);
      hopper::load_tile(shared.x[stage], &x, {i * kStep, tile * kTileRows}, &shared.there[stage]);
      if (++stage == kStages) stage = 0, ++round;
    }
}

// The tile's product, by one of `Groups` groups. turn: how many tiles this block had before it.
template <int Groups>
__device__ __forceinline__ void multiply_tile(Shared& shared, const Work& work, std::uint32_t turn, const TilePlace& place,
                                              float (&sum)[64]) {
  const std::uint32_t copies = turn * static_cast<std::uint32_t>(work.steps);
  const std::uint64_t x = hopper::matrix_at(shared.x[0]), weight = hopper::matrix_at(shared.weight[0]);
  int stage = static_cast<int>(copies % kStages), before = -1;
  std::uint32_t round = copies / kStages;
  // After the group before: earlier, a barrier's parity would not tell its copy from the one of a round ago.
  if (turn > 0) hopper::wait_for(&shared.multiplied[(turn - 1) % Groups], (turn - 1) / Groups & 1);
  for (int i = 0; i < work.steps; ++i) {
    hopper::wait_for(&shared.there[stage], round & 1);
    hopper::pin(sum);
    hopper::products_begin();
    const std::uint64_t a = x + hopper::matrix_step(kTileBytes) * stage, b = weight + hopper::matrix_step(kWeightBytes) * i;
#pragma unroll
    for (int k = 0; k < kStep / 16; ++k)
      hopper::multiply(sum, a + hopper::kNextColumns * k, b + hopper::kNextColumns * k, i > 0 || k > 0);
    hopper::products_commit();
    hopper::products_wait<1>();
    if (before >= 0 && place.thread == 0) hopper::arrive(&shared.free[before]);
    before = stage;
    if (++stage == kStages) stage = 0, ++round;
  }
  if (place.lane == 0) hopper::arrive(&shared.multiplied[turn % Groups]);
  hopper::products_wait<0>();
  hopper::pin(sum);
  if (place.thread == 0) hopper::arrive(&shared.free[before]);
}

template <class Epilogue>
__global__ void __launch_bounds__((Epilogue::kGroups + 1) * kGroup, 1)
    product_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap weight, const Work work,
                   const Epilogue epilogue) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int kGroups = Epilogue::kGroups;
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int column_tile = static_cast<int>(blockIdx.x) % work.column_tiles, first = static_cast<int>(blockIdx.x) / work.column_tiles;
  // The same for a warp: the shuffle tells the compiler, which then keeps stages and places in uniform registers.
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / kGroup, 0);
  const int thread = static_cast<int>(threadIdx.x) % kGroup;
  if (threadIdx.x == 0) {
    hopper::barrier_init(&shared.weight_there, 1);
    for (int i = 0; i < kStages; ++i) {
      hopper::barrier_init(&shared.there[i], 1);
      hopper::barrier_init(&shared.free[i], 1);
    }
    for (std::uint64_t& barrier : shared.multiplied) hopper::barrier_init(&barrier, kGroup / kWarp);
    hopper::barriers_are_set();
  }
  __syncthreads();

  if (group == kGroups) {
    hopper::give_registers<kCopyRegisters>();
    if (thread == 0) copy_tiles(shared, x, weight, work, column_tile * kTileColumns, first);
    return;
  }
  hopper::take_registers<kProductRegisters<kGroups>>();
  hopper::wait_for(&shared.weight_there, 0);
  std::uint32_t turn = 0;
  for (int tile = first; tile < work.row_tiles; tile += work.shares, ++turn) {
    if (turn % kGroups != static_cast<std::uint32_t>(group)) continue;
    const TilePlace place{static_cast<Index>(tile) * kTileRows, work.rows, column_tile * kTileColumns, work.outputs, thread % kWarp,
                          thread / kWarp, thread, static_cast<Index>(tile) * work.column_tiles + column_tile};
    typename Epilogue::Early early;
    epilogue.early(place, early);
    float sum[64];
    multiply_tile<kGroups>(shared, work, turn, place, sum);
    epilogue.finish(place, sum, early);
  }
#endif
}

// x [rows, inputs] in tiles of kTileRows x kStep.
CUtensorMap map_of_x(const Product& p) {
  const cuuint64_t columns = p.inputs, rows = p.rows;
  return map_of<2>(p.x, {columns, rows}, {2 * columns}, {kStep, kTileRows});
}
// W [outputs, inputs] in tiles of kTileColumns x kStep, row 32 J + 8 q + 2 i + c of a tile at place 32 J + 8 i + 2 q + c: a product
// leaves places 8 j + 2 q, + 1 to the lanes q of four, and four times two of them are to be neighbours.
CUtensorMap map_of_weight(const Product& p) {
  const cuuint64_t columns = p.inputs, row = 2 * columns;
  return map_of<5>(p.weight, {columns, 2, 4, 4, static_cast<cuuint64_t>(p.outputs) / 32}, {row, 8 * row, 2 * row, 32 * row},
                   {kStep, 2, 4, 4, kTileColumns / 32});
}

template <class Epilogue>
void run(const Launch& l, const Product& p, const Epilogue& epilogue) {
  allow_shared_memory<product_kernel<Epilogue>, sizeof(Shared)>();
  const int column_tiles = static_cast<int>(p.outputs) / kTileColumns;
  const int row_tiles = static_cast<int>((p.rows + kTileRows - 1) / kTileRows);
  const int shares = std::min(std::max(processors().count / column_tiles, 1), row_tiles);
  const Work work{p.rows, static_cast<int>(p.outputs), static_cast<int>(p.inputs / kStep), row_tiles, column_tiles, shares};
  const CUtensorMap x = map_of_x(p), weight = map_of_weight(p);
  if (failed_before_launch != nullptr) return;
  product_kernel<Epilogue><<<static_cast<unsigned>(shares * column_tiles), (Epilogue::kGroups + 1) * kGroup, sizeof(Shared),
                             static_cast<cudaStream_t>(l.stream)>>>(x, weight, work, epilogue);
}

}  // namespace

bool product_fits(const Launch& l, Index inputs, Index outputs) {
  return l.bfloat16 && inputs > 0 && inputs % kStep == 0 && inputs <= kMostSteps * kStep && outputs > 0 &&
         outputs % kTileColumns == 0 && processors().usable;
}
bool product_heads_fit(const Launch& l, Index inputs, Index heads, Index kv_heads, Index head) {
  return head == 64 && product_fits(l, inputs, (heads + 2 * kv_heads) * head);
}
Index product_signs_bytes(Index rows, Index outputs) { return (rows + kTileRows - 1) / kTileRows * kTileRows * outputs / 8; }

void product_activate(const Launch& l, const Product& p, const float* norm, float slope, void* out, std::uint8_t* signs) {
  run(l, p, ActivateEpilogue{norm, slope, static_cast<bf16*>(out), reinterpret_cast<uint2*>(signs)});
}
void product_activate_backward(const Launch& l, const Product& p, const float* norm, float slope, const void* activated,
                               const std::uint8_t* signs, void* out) {
  run(l, p, ActivateBackwardEpilogue{norm, slope, static_cast<const bf16*>(activated), reinterpret_cast<const uint2*>(signs),
                                     static_cast<bf16*>(out)});
}
void product_heads(const Launch& l, const Product& p, const Heads& h) {
  constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon
  run(l, p, HeadsEpilogue{h.norm, h.cos, h.sin, h.gain, h.head_norm, static_cast<bf16*>(h.qkv), static_cast<int>(h.length),
                          static_cast<int>(h.heads), static_cast<int>(h.kv_heads), kEpsilon});
}

}  // namespace caddie::ops::cuda

#else  // emulated threads have no matrix units

namespace caddie::ops::cuda {

bool product_fits(const Launch&, Index, Index) { return false; }
bool product_heads_fit(const Launch&, Index, Index, Index, Index) { return false; }
Index product_signs_bytes(Index, Index) { return 0; }
void product_activate(const Launch&, const Product&, const float*, float, void*, std::uint8_t*) {}
void product_activate_backward(const Launch&, const Product&, const float*, float, const void*, const std::uint8_t*, void*) {}
void product_heads(const Launch&, const Product&, const Heads&) {}

}  // namespace caddie::ops::cuda

#endif
