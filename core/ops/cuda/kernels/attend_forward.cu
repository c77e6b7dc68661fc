// Causal attention with heads of 64 channels, on the matrix units of compute capability 9.0. A block has three groups of four warps,
// each with 64 queries of one head; the query heads that share a key/value head are dealt with side by side, so that a tile of 128
// keys and values is copied once for all of them. While one group takes exponentials, the others' products run.
// Queries and keys were normed over their heads, so no score is larger than 8 |gain|: exponents are taken from that bound, and there
// is no maximum to look for. Only for gains so large that float32 could not hold the range is it looked for (FlashAttention's way).
// Bound: the exponentials, one for each pair of a query and a key it sees, 16 a cycle and multiprocessor; the two products take as
// long: 0.23 ms at 98,304 rows in sequences of 2,048.
#include "core/ops/cuda/kernels/kernels.h"

#ifdef __CUDACC__
#pragma nv_diag_suppress 177  // code for other devices calls none of this
#include "core/ops/cuda/kernels/attend_pairs.cuh"
#include "core/ops/cuda/kernels/tile_maps.cuh"

namespace caddie::ops::cuda {
namespace {

constexpr int kHead = 64, kQueries = 64, kKeys = 128, kStages = 4, kGroup = 128, kGroups = 3;
constexpr int kCopyRegisters = 32, kProductRegisters = 160;  // 128 a thread of four groups at the start
constexpr int kQueryBytes = kQueries * kHead * 2, kKeyBytes = kKeys * kHead * 2;
constexpr float kScale = 0.125f;  // 1 / sqrt(kHead)

struct Shared {
  alignas(1024) unsigned char query[kGroups][kQueryBytes];  // then what was attended
  alignas(1024) unsigned char key[kStages][kKeyBytes];
  alignas(1024) unsigned char value[kStages][kKeyBytes];
  std::uint64_t query_there[kGroups], key_there[kStages], value_there[kStages], free[kStages];
};

struct Work {
  int length, heads, kv_heads, shares;  // blocks of a key/value head
  const float* gain;                    // of the heads
  float* log_sum;                       // [batch, heads, length]; null: not wanted
};

// What a group works on: 64 queries of a head. last: the last tile of keys that they see.
struct Unit {
  int head, block, last;
};
struct Place {
  int batch, kv_head, share;
};
__device__ __forceinline__ Unit unit_of(const Work& work, const Place& place, int group) {
  const int queries = work.heads / work.kv_heads, unit = place.share * kGroups + group, block = unit / queries;
  if (block >= work.length / kQueries) return {0, -1, -1};
  return {place.kv_head * queries + unit % queries, block, block / 2};
}

__device__ __forceinline__ void copy_tiles(Shared& shared, const CUtensorMap& qkv, const Work& work, const Place& place) {
  const int first_row = place.batch * work.length, key = work.heads + place.kv_head, value = key + work.kv_heads;
  int last = 0;
  for (int group = 0; group < kGroups; ++group) {
    const Unit unit = unit_of(work, place, group);
    if (unit.block < 0) continue;
    hopper::expect_bytes(&shared.query_there[group], kQueryBytes);
    hopper::load_tile(shared.query[group], &qkv, {unit.head * kHead, first_row + unit.block * kQueries}, &shared.query_there[group]);
    last = unit.last > last ? unit.last : last;
  }
  Turn<kStages> stage;
  for (int tile = 0; tile <= last; ++tile, stage.next()) {
    const int row = first_row + tile * kKeys;
    hopper::wait_for(&shared.free[stage.at], stage.parity ^ 1);
    hopper::expect_bytes(&shared.key_there[stage.at], kKeyBytes);
    hopper::load_tile(shared.key[stage.at], &qkv, {key * kHead, row}, &shared.key_there[stage.at]);
    hopper::load_tile(shared.key[stage.at] + kKeyBytes / 2, &qkv, {key * kHead, row + kQueries}, &shared.key_there[stage.at]);
    hopper::expect_bytes(&shared.value_there[stage.at], kKeyBytes);
    hopper::load_tile(shared.value[stage.at], &qkv, {value * kHead, row}, &shared.value_there[stage.at]);
    hopper::load_tile(shared.value[stage.at] + kKeyBytes / 2, &qkv, {value * kHead, row + kQueries}, &shared.value_there[stage.at]);
  }
}

struct Lane {
  int group, thread, warp, lane;
};

// S of the queries and half a tile of keys.
__device__ __forceinline__ void scores(Shared& shared, const Lane& at, int stage, int half, float (&s)[32]) {
  const std::uint64_t query = hopper::matrix_at(shared.query[at.group]);
  const std::uint64_t key = hopper::matrix_at(shared.key[stage]) + hopper::matrix_step(kKeyBytes / 2) * half;
#pragma unroll
  for (int k = 0; k < 4; ++k) hopper::multiply(s, query + hopper::kNextColumns * k, key + hopper::kNextColumns * k, k > 0);
}
// out += P V of half a tile.
__device__ __forceinline__ void add_values(Shared& shared, int stage, int half, const std::uint32_t (&pairs)[16], float (&out)[32]) {
  const std::uint64_t value = hopper::matrix_at(shared.value[stage]) + hopper::matrix_step(kKeyBytes / 2) * half;
#pragma unroll
  for (int k = 0; k < 4; ++k) hopper::multiply_turned(out, pairs + 4 * k, value + hopper::matrix_step(2048) * k);
}

// A lane's two rows: what exponents are taken from, in powers of two, and the sums of its own columns.
struct Rows {
  float from[2], sum[2];
};

// No key after the query: columns of half a tile after `row` are no scores.
__device__ __forceinline__ void mask(float (&s)[32], int row, int quad) {
#pragma unroll
  for (int i = 0; i < 32; ++i)
    if (8 * (i / 4) + 2 * quad + i % 2 > row + 8 * (i / 2 % 2)) s[i] = -__builtin_huge_valf();
}

// Raises `from` to the largest of the scores, and scales what was summed before.
__device__ __forceinline__ void raise(const float (&s)[2][32], Rows& rows, float (&out)[32]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float top = rows.from[r];
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) top = fmaxf(top, kScale * kLog2e * fmaxf(s[0][4 * j + 2 * r + c], s[1][4 * j + 2 * r + c]));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    const float factor = power_of_two(rows.from[r] - top);
    rows.from[r] = top;
    rows.sum[r] *= factor;
#pragma unroll
    for (int j = 0; j < 8; ++j) out[4 * j + 2 * r] *= factor, out[4 * j + 2 * r + 1] *= factor;
  }
}

__device__ __forceinline__ void exponentials(const float (&s)[32], Rows& rows, std::uint32_t (&pairs)[16]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const float first = power_of_two(s[2 * i] * (kScale * kLog2e) - rows.from[i % 2]);
    const float second = power_of_two(s[2 * i + 1] * (kScale * kLog2e) - rows.from[i % 2]);
    rows.sum[i % 2] += first + second;
    pairs[i] = pair(first, second);
  }
}

// kBounded: `from` holds for all scores. The halves of a tile take turns: while one's products run, the other's exponentials are taken.
template <bool kBounded>
__device__ __forceinline__ void attend_unit(Shared& shared, const Lane& at, const Unit& unit, int tiles, Rows& rows, float (&out)[32]) {
  float s[2][32];
  std::uint32_t pairs[2][16];
  const int quad = at.lane % 4, row = unit.block % 2 * kQueries + at.warp * 16 + at.lane / 4;
  Turn<kStages> stage;
  hopper::wait_for(&shared.query_there[at.group], 0);
  hopper::wait_for(&shared.key_there[0], 0);
  hopper::products_begin();
  scores(shared, at, 0, 0, s[0]);
  scores(shared, at, 0, 1, s[1]);
  hopper::products_commit();
  hopper::products_wait<0>();
  hopper::pin(s[0]);
  hopper::pin(s[1]);
  for (int tile = 0; tile <= unit.last; ++tile) {
    if (tile == unit.last) {
      mask(s[0], row, quad);
      mask(s[1], row - kQueries, quad);
    }
    if (!kBounded) raise(s, rows, out);
    Turn<kStages> next = stage;
    next.next();
    exponentials(s[0], rows, pairs[0]);
    hopper::wait_for(&shared.value_there[stage.at], stage.parity);
    if (tile < unit.last) hopper::wait_for(&shared.key_there[next.at], next.parity);
    hopper::pin(out);
    hopper::products_begin();
    add_values(shared, stage.at, 0, pairs[0], out);
    scores(shared, at, next.at, 0, s[0]);  // after the last tile of what lies there: no product depends on a condition
    hopper::products_commit();
    exponentials(s[1], rows, pairs[1]);
    hopper::products_begin();
    add_values(shared, stage.at, 1, pairs[1], out);
    scores(shared, at, next.at, 1, s[1]);
    hopper::products_commit();
    hopper::products_wait<0>();
    hopper::pin(out);
    hopper::pin(s[0]);
    hopper::pin(s[1]);
    if (at.lane == 0) hopper::arrive(&shared.free[stage.at]);
    stage = next;
  }
  for (int tile = unit.last + 1; tile < tiles; ++tile, stage.next()) {  // another group's
    hopper::wait_for(&shared.value_there[stage.at], stage.parity);
    if (at.lane == 0) hopper::arrive(&shared.free[stage.at]);
  }
}

__device__ __forceinline__ void finish(Shared& shared, const CUtensorMap& values, const Lane& at, const Work& work, const Place& place,
                                       const Unit& unit, Rows& rows, float (&out)[32]) {
  std::uint32_t pairs[16];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.sum[r] = sum_over_lanes<4>(rows.sum[r]);
    const float inverse = 1.0f / rows.sum[r];
#pragma unroll
    for (int j = 0; j < 8; ++j) pairs[2 * j + r] = pair(out[4 * j + 2 * r] * inverse, out[4 * j + 2 * r + 1] * inverse);
    const int position = unit.block * kQueries + at.warp * 16 + at.lane / 4 + 8 * r;
    if (at.lane % 4 == 0 && work.log_sum != nullptr)
      work.log_sum[(static_cast<Index>(place.batch) * work.heads + unit.head) * work.length + position] =
          (rows.from[r] + __log2f(rows.sum[r])) * (1 / kLog2e);
  }
  const std::uint32_t to = matrices_at(shared.query[at.group], at.warp * 16 + at.lane % 16, at.lane / 16);
#pragma unroll
  for (int k = 0; k < 4; ++k) store_matrices(to ^ static_cast<std::uint32_t>(k << 5), pairs + 4 * k);
  hopper::show_to_units();
  hopper::meet(1 + at.group, kGroup);
  if (at.thread == 0) {
    hopper::store_tile(&values, {unit.head * kHead, place.batch * work.length + unit.block * kQueries}, shared.query[at.group]);
    hopper::stores_were_read<0>();
  }
}

__global__ void __launch_bounds__((kGroups + 1) * kGroup, 1)
    attend_forward_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap values, const Work work) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  // All queries of a key/value head side by side in time; the last ones, with the most to do, first.
  const int kv_head = static_cast<int>(blockIdx.x) / work.shares;
  const Place place{kv_head / work.kv_heads, kv_head % work.kv_heads, work.shares - 1 - static_cast<int>(blockIdx.x) % work.shares};
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / kGroup, 0);
  const int thread = static_cast<int>(threadIdx.x) % kGroup;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kGroups; ++i) hopper::barrier_init(&shared.query_there[i], 1);
    for (int i = 0; i < kStages; ++i) {
      hopper::barrier_init(&shared.key_there[i], 1);
      hopper::barrier_init(&shared.value_there[i], 1);
      hopper::barrier_init(&shared.free[i], kGroups * kGroup / kWarp);
    }
    hopper::barriers_are_set();
  }
  __syncthreads();
  if (group == kGroups) {
    hopper::give_registers<kCopyRegisters>();
    if (thread == 0) copy_tiles(shared, qkv, work, place);
    return;
  }
  hopper::take_registers<kProductRegisters>();
  const Lane at{group, thread, thread / kWarp, thread % kWarp};
  int tiles = 0;
  for (int i = 0; i < kGroups; ++i) tiles = max(tiles, unit_of(work, place, i).last + 1);
  const Unit unit = unit_of(work, place, group);
  float out[32] = {};
  if (unit.block < 0) {
    Turn<kStages> stage;
    for (int tile = 0; tile < tiles; ++tile, stage.next()) {
      hopper::wait_for(&shared.value_there[stage.at], stage.parity);
      if (at.lane == 0) hopper::arrive(&shared.free[stage.at]);
    }
    return;
  }
  // Normed over 64 channels, and rotated by tables that are rounded to bfloat16, as they are themselves: 8 |gain| and a fiftieth.
  const float bound = 8.2f * kLog2e * fabsf(work.gain[unit.head]);
  constexpr float kMost = 90, kRange = 108;  // 2^90 times a sequence's length is a float32; so is 2^-(108 + 18)
  if (bound <= kRange) {
    const float from = fmaxf(0.0f, bound - kMost);
    Rows rows{{from, from}, {0, 0}};
    attend_unit<true>(shared, at, unit, tiles, rows, out);
    finish(shared, values, at, work, place, unit, rows, out);
  } else {
    Rows rows{{-__builtin_huge_valf(), -__builtin_huge_valf()}, {0, 0}};
    attend_unit<false>(shared, at, unit, tiles, rows, out);
    finish(shared, values, at, work, place, unit, rows, out);
  }
#endif
}

}  // namespace

bool attend_forward_fits(const Launch& l, Index length, Index heads, Index kv_heads, Index head) {
  return l.bfloat16 && head == kHead && length > 0 && length % kKeys == 0 && kv_heads > 0 && heads % kv_heads == 0 && processors().usable;
}

void attend_forward(const Launch& l, const AttendForward& a) {
  allow_shared_memory<attend_forward_kernel, sizeof(Shared)>();
  const cuuint64_t height = static_cast<cuuint64_t>(a.batch * a.length), width = static_cast<cuuint64_t>(a.heads + 2 * a.kv_heads) * kHead;
  const cuuint64_t values_width = static_cast<cuuint64_t>(a.heads) * kHead;
  const CUtensorMap qkv = map_of<2>(a.qkv, {width, height}, {2 * width}, {kHead, kQueries});
  const CUtensorMap values = map_of<2>(a.values, {values_width, height}, {2 * values_width}, {kHead, kQueries});
  if (failed_before_launch != nullptr) return;
  const Index units = a.length / kQueries * (a.heads / a.kv_heads), shares = (units + kGroups - 1) / kGroups;
  const Work work{static_cast<int>(a.length), static_cast<int>(a.heads), static_cast<int>(a.kv_heads), static_cast<int>(shares), a.gain, a.log_sum};
  attend_forward_kernel<<<static_cast<unsigned>(a.batch * a.kv_heads * shares), (kGroups + 1) * kGroup, sizeof(Shared),
                          static_cast<cudaStream_t>(l.stream)>>>(qkv, values, work);
}

}  // namespace caddie::ops::cuda

#else  // emulated threads have no matrix units

namespace caddie::ops::cuda {

bool attend_forward_fits(const Launch&, Index, Index, Index, Index) { return false; }
void attend_forward(const Launch&, const AttendForward&) {}

}  // namespace caddie::ops::cuda

#endif
