// The backward pass of causal attention, heads of 64 channels, on the matrix units of compute capability 9.0. A block has 128 keys
// of one key/value head and goes over all queries that see them, 128 at a time, of every query head that shares it: the gradients
// of its keys and values stay in registers to the end. Two groups of four warps take 64 keys each; with S^T = K Q^T (keys are the
// rows of a product) what the softmax gives is in place, in registers, for the products behind it:
//   P^T = exp(S^T - log sum), dV += P^T dO, dP^T = V dO^T, dS^T = P^T (dP^T - delta), dK += dS^T Q, dQ = dS K
// dS goes to shared memory, and each group makes dQ of 64 queries over the block's 128 keys, which the copy engine adds up in
// float32 in the L2 cache. FlashAttention-3's plan (Shah et al., 2024); delta = sum of dO O over a head (Dao, 2022).
// Bound: 5 products of 2 x 64 operations for every pair of a query and a key it sees: 0.5 ms at 98,304 rows in sequences of 2,048.
#include "core/ops/cuda/kernels/kernels.h"

#ifdef __CUDACC__
#pragma nv_diag_suppress 177  // code for other devices calls none of this
#include "core/ops/cuda/kernels/attend_pairs.cuh"
#include "core/ops/cuda/kernels/tile_maps.cuh"

namespace caddie::ops::cuda {
namespace {

constexpr int kHead = 64, kTile = 128, kStages = 3, kChanges = 2, kGroup = 128, kGroups = 2;
constexpr int kKeyRegisters = 216, kQueryRegisters = 72;  // a thread of three groups: 168 each at the start
constexpr int kTileBytes = kTile * kHead * 2, kHalfTile = kTileBytes / 2;
static_assert(kQueryFloats == kQueryBlock * kHead);
constexpr float kScale = 0.125f;  // 1 / sqrt(kHead)

struct Shared {
  alignas(1024) unsigned char key[kTileBytes];
  alignas(1024) unsigned char value[kTileBytes];
  alignas(1024) unsigned char query[kStages][kTileBytes];
  alignas(1024) unsigned char gradient[kStages][kTileBytes];
  alignas(1024) unsigned char change[kChanges][2][kTileBytes];  // dS^T: [128 keys][64 queries] twice
  alignas(1024) float query_sums[1][kQueryFloats];
  alignas(16) float log_sum[kStages][kTile];
  alignas(16) float delta[kStages][kTile];
  std::uint64_t keys_there, query_there[kStages], gradient_there[kStages], free[kStages], change_there[kChanges], change_free[kChanges];
};

struct Work {
  int length, heads, kv_heads, tiles;  // tiles of a sequence
  const float* statistics;             // [batch, heads, 2, length]: log2 of the sum; delta
  float* query_sums;
  const bf16* more_value;
  const float *norm, *head_norm, *cos, *sin;
};

// What this block works on.
struct Place {
  int tile, batch, kv_head;
};

// Copies tiles of queries and of the gradients of what was attended, in the order in which they are worked on; by one thread.
class Copies {
 public:
  __device__ __forceinline__ Copies(const CUtensorMap& qkv, const CUtensorMap& gradient, const Work& work, const Place& place)
      : qkv_(qkv), gradient_(gradient), work_(work), place_(place), tile_(place.tile) {}

  __device__ __forceinline__ void keys(Shared& shared) {
    hopper::expect_bytes(&shared.keys_there, 2 * kTileBytes);
    const int row = place_.batch * work_.length + place_.tile * kTile, key = work_.heads + place_.kv_head;
    hopper::load_tile(shared.key, &qkv_, {key * kHead, row}, &shared.keys_there);
    hopper::load_tile(shared.value, &qkv_, {(key + work_.kv_heads) * kHead, row}, &shared.keys_there);
  }
  __device__ __forceinline__ bool more() const { return own_ < work_.heads / work_.kv_heads; }
  __device__ __forceinline__ void next(Shared& shared, int stage) {
    const int head = place_.kv_head * (work_.heads / work_.kv_heads) + own_, at = tile_ * kTile;
    const int row = place_.batch * work_.length + at;
    const float* statistics = work_.statistics + (static_cast<Index>(place_.batch) * work_.heads + head) * 2 * work_.length + at;
    hopper::expect_bytes(&shared.query_there[stage], kTileBytes + kTile * 4);
    hopper::load_tile(shared.query[stage], &qkv_, {head * kHead, row}, &shared.query_there[stage]);
    hopper::load_row(shared.log_sum[stage], statistics, kTile * 4, &shared.query_there[stage]);
    hopper::expect_bytes(&shared.gradient_there[stage], kTileBytes + kTile * 4);
    hopper::load_tile(shared.gradient[stage], &gradient_, {head * kHead, row}, &shared.gradient_there[stage]);
    hopper::load_row(shared.delta[stage], statistics + work_.length, kTile * 4, &shared.gradient_there[stage]);
    if (++tile_ == work_.tiles) tile_ = place_.tile, ++own_;
  }

 private:
  const CUtensorMap &qkv_, &gradient_;
  const Work& work_;
  const Place& place_;
  int own_ = 0, tile_;
};

struct Lane {
  int group, thread, warp, lane;
};

// S^T of a tile of queries, begun.
__device__ __forceinline__ void begin_scores(Shared& shared, const Lane& at, int stage, float (&s)[64]) {
  const std::uint64_t key = hopper::matrix_at(shared.key + at.group * kHalfTile), query = hopper::matrix_at(shared.query[stage]);
  hopper::products_begin();
#pragma unroll
  for (int k = 0; k < 4; ++k) hopper::multiply(s, key + hopper::kNextColumns * k, query + hopper::kNextColumns * k, k > 0);
  hopper::products_commit();
}

// P^T of S^T, in pairs.
template <bool kDiagonal>
__device__ __forceinline__ void probabilities(const float (&s)[64], const float* log_sum, const Lane& at, std::uint32_t (&pairs)[32]) {
  const int own_key = at.group * 64 + at.warp * 16 + at.lane / 4;
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const int query = 8 * j + 2 * (at.lane % 4);
    const float2 sum = *reinterpret_cast<const float2*>(log_sum + query);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float first = power_of_two(s[4 * j + 2 * r] * (kScale * kLog2e) - sum.x);
      float second = power_of_two(s[4 * j + 2 * r + 1] * (kScale * kLog2e) - sum.y);
      if (kDiagonal && own_key + 8 * r > query) first = 0;
      if (kDiagonal && own_key + 8 * r > query + 1) second = 0;
      pairs[2 * j + r] = pair(first, second);
    }
  }
}

// What a tile of queries adds to dK, dV of this group's 64 keys; leaves its dS^T. s: its S^T, and at the end that of the next tile,
// if there is one.
template <bool kDiagonal>
__device__ __forceinline__ void one_tile(Shared& shared, const Lane& at, const Turn<kStages>& tile, const Turn<kChanges>& change,
                                         bool more, float (&s)[64], float (&key_sum)[32], float (&value_sum)[32]) {
  float dp[64];
  std::uint32_t pairs[32], changes[32];
  const std::uint64_t query = hopper::matrix_at(shared.query[tile.at]), gradient = hopper::matrix_at(shared.gradient[tile.at]);
  probabilities<kDiagonal>(s, shared.log_sum[tile.at], at, pairs);
  hopper::wait_for(&shared.gradient_there[tile.at], tile.parity);
  const std::uint64_t value = hopper::matrix_at(shared.value + at.group * kHalfTile);
  hopper::products_begin();
#pragma unroll
  for (int k = 0; k < 4; ++k) hopper::multiply(dp, value + hopper::kNextColumns * k, gradient + hopper::kNextColumns * k, k > 0);
  hopper::products_commit();
  hopper::products_begin();
#pragma unroll
  for (int k = 0; k < 8; ++k) hopper::multiply_turned(value_sum, pairs + 4 * k, gradient + hopper::matrix_step(2048) * k);
  hopper::products_commit();
  hopper::products_wait<1>();
  hopper::pin(dp);
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const float2 delta = *reinterpret_cast<const float2*>(&shared.delta[tile.at][8 * j + 2 * (at.lane % 4)]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float2 p = from_pair(pairs[2 * j + r]);  // rounded, as dV takes it: 32 registers in place of 64
      changes[2 * j + r] = pair(p.x * (dp[4 * j + 2 * r] - delta.x), p.y * (dp[4 * j + 2 * r + 1] - delta.y));
    }
  }
  hopper::products_wait<0>();
  hopper::pin(value_sum);
  hopper::products_begin();
#pragma unroll
  for (int k = 0; k < 8; ++k) hopper::multiply_turned(key_sum, changes + 4 * k, query + hopper::matrix_step(2048) * k);
  hopper::products_commit();
  Turn<kStages> next = tile;
  next.next();
  if (more) hopper::wait_for(&shared.query_there[next.at], next.parity);
  begin_scores(shared, at, next.at, s);  // after the last tile of what lies there: no product depends on a condition
  hopper::wait_for(&shared.change_free[change.at], change.parity ^ 1);
  const std::uint32_t to = matrices_at(shared.change[change.at][0], at.group * 64 + at.warp * 16 + at.lane % 16, at.lane / 16);
#pragma unroll
  for (int k = 0; k < 8; ++k) store_matrices((to ^ static_cast<std::uint32_t>(k % 4 << 5)) + k / 4 * kTileBytes, changes + 4 * k);
  hopper::show_to_units();
  __syncwarp();
  if (at.lane == 0) hopper::arrive(&shared.change_there[change.at]);
  hopper::products_wait<0>();
  hopper::pin(key_sum);
  hopper::pin(value_sum);
  hopper::pin(s);
  if (at.lane == 0) hopper::arrive(&shared.free[tile.at]);
}

// dQ of a tile of queries over this block's keys, by a group of its own; added up in global memory, 64 rows at a time.
__device__ __forceinline__ void add_query_tile(Shared& shared, const Lane& at, const Turn<kChanges>& change, float* query_sums) {
  const std::uint64_t key = hopper::matrix_at(shared.key);
  hopper::wait_for(&shared.change_there[change.at], change.parity);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float dq[32];
    const std::uint64_t changes = hopper::matrix_at(shared.change[change.at][half]);
    hopper::products_begin();
#pragma unroll
    for (int k = 0; k < 8; ++k)
      hopper::multiply_both_turned(dq, changes + hopper::matrix_step(2048) * k, key + hopper::matrix_step(2048) * k, k > 0);
    hopper::products_commit();
    if (at.thread == 0) hopper::stores_were_read<0>();
    hopper::meet(1, kGroup);
    hopper::products_wait<0>();
    hopper::pin(dq);
    if (half == 1 && at.lane == 0) hopper::arrive(&shared.change_free[change.at]);
    float2* place = reinterpret_cast<float2*>(shared.query_sums[0]) + at.thread;
#pragma unroll
    for (int i = 0; i < 16; ++i) place[i * kGroup] = make_float2(dq[2 * i] * kScale, dq[2 * i + 1] * kScale);
    hopper::show_to_units();
    hopper::meet(1, kGroup);
    if (at.thread == 0) hopper::add_row(query_sums + half * kQueryFloats, shared.query_sums[0], kQueryFloats * 4);
  }
}

// What the ends of keys and values need of a lane's two rows; asked for at once, it comes at once.
struct Ends {
  float norm[2], head_norm[2];
  float2 cos[2][4], sin[2][4];
  std::uint32_t more[2][8];  // pairs of more_value
};
__device__ __forceinline__ void load_ends(const Lane& at, const Work& work, const Place& place, Ends& ends) {
  const int first = 2 * (at.lane % 4);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int position = place.tile * kTile + at.group * 64 + at.warp * 16 + at.lane / 4 + 8 * r;
    const Index row = static_cast<Index>(place.batch) * work.length + position;
    ends.norm[r] = work.norm[row];
    ends.head_norm[r] = work.head_norm[row * (work.heads + work.kv_heads) + work.heads + place.kv_head];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      ends.cos[r][j] = *reinterpret_cast<const float2*>(work.cos + position * (kHead / 2) + 8 * j + first);
      ends.sin[r][j] = *reinterpret_cast<const float2*>(work.sin + position * (kHead / 2) + 8 * j + first);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const bf16* more = work.more_value + (row * work.kv_heads + place.kv_head) * kHead + 8 * j + first;
      ends.more[r][j] = work.more_value != nullptr ? *reinterpret_cast<const std::uint32_t*>(more) : 0u;
    }
  }
}

// 64 rows of `product` from a group's pairs, by way of its own rows of the values' tile, which nobody else reads.
__device__ __forceinline__ void store_rows(Shared& shared, const CUtensorMap& product, const Lane& at, const Work& work, const Place& place,
                                           int head, const std::uint32_t (&pairs)[16]) {
  unsigned char* tile = shared.value + at.group * kHalfTile;
  const std::uint32_t to = matrices_at(tile, at.warp * 16 + at.lane % 16, at.lane / 16);
#pragma unroll
  for (int k = 0; k < 4; ++k) store_matrices(to ^ static_cast<std::uint32_t>(k << 5), pairs + 4 * k);
  hopper::show_to_units();
  hopper::meet(2 + at.group, kGroup);
  if (at.thread == 0) {
    hopper::store_tile(&product, {head * kHead, place.batch * work.length + place.tile * kTile + at.group * 64}, tile);
    hopper::stores_were_read<0>();
  }
}

__device__ __forceinline__ void finish_values(const float (&sum)[32], const Ends& ends, std::uint32_t (&pairs)[16]) {
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float2 more = from_pair(ends.more[r][j]);
      pairs[2 * j + r] = pair(ends.norm[r] * (sum[4 * j + 2 * r] + more.x), ends.norm[r] * (sum[4 * j + 2 * r + 1] + more.y));
    }
}
// The gradient of the rotated keys through rotation and norm, as heads_backward does it.
__device__ __forceinline__ void finish_keys(const Shared& shared, const float (&sum)[32], const Lane& at, const Ends& ends,
                                            std::uint32_t (&pairs)[16]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = at.group * 64 + at.warp * 16 + at.lane / 4 + 8 * r;
    float x[16], along = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 both = from_pair(*reinterpret_cast<const std::uint32_t*>(shared.key + row * 128 + ((j ^ (row % 8)) << 4) + 4 * (at.lane % 4)));
      x[2 * j] = both.x, x[2 * j + 1] = both.y;
      along += kScale * (sum[4 * j + 2 * r] * both.x + sum[4 * j + 2 * r + 1] * both.y);
    }
    const float mean = sum_over_lanes<4>(along) / kHead, factor = ends.norm[r] * ends.head_norm[r];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float low[2], high[2];
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float cos = c == 0 ? ends.cos[r][j].x : ends.cos[r][j].y, sin = c == 0 ? ends.sin[r][j].x : ends.sin[r][j].y;
        const float shrink = __fdividef(mean, cos * cos + sin * sin);
        const float a = factor * (kScale * sum[4 * j + 2 * r + c] - shrink * x[2 * j + c]);
        const float b = factor * (kScale * sum[4 * (j + 4) + 2 * r + c] - shrink * x[2 * (j + 4) + c]);
        low[c] = a * cos - b * sin;
        high[c] = a * sin + b * cos;
      }
      pairs[2 * j + r] = pair(low[0], low[1]);
      pairs[2 * (j + 4) + r] = pair(high[0], high[1]);
    }
  }
}

__global__ void __launch_bounds__((kGroups + 1) * kGroup, 1)
    attend_backward_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap gradient,
                           const __grid_constant__ CUtensorMap product, const Work work) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  // All tiles of a key/value head side by side in time: what they read is in the L2 cache. The first ones have the most to do.
  const int kv_head = static_cast<int>(blockIdx.x) / work.tiles;
  const Place place{static_cast<int>(blockIdx.x) % work.tiles, kv_head / work.kv_heads, kv_head % work.kv_heads};
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / kGroup, 0);
  const int thread = static_cast<int>(threadIdx.x) % kGroup;
  if (threadIdx.x == 0) {
    hopper::barrier_init(&shared.keys_there, 1);
    for (int i = 0; i < kStages; ++i) {
      hopper::barrier_init(&shared.query_there[i], 1);
      hopper::barrier_init(&shared.gradient_there[i], 1);
      hopper::barrier_init(&shared.free[i], kGroups * kGroup / kWarp);
    }
    for (int i = 0; i < kChanges; ++i) {
      hopper::barrier_init(&shared.change_there[i], kGroups * kGroup / kWarp);
      hopper::barrier_init(&shared.change_free[i], kGroup / kWarp);
    }
    hopper::barriers_are_set();
  }
  __syncthreads();
  const int queries = work.heads / work.kv_heads, blocks = work.length / kQueryBlock;
  const Lane at{group, thread, thread / kWarp, thread % kWarp};
  if (group == kGroups) {
    hopper::give_registers<kQueryRegisters>();
    Copies copies(qkv, gradient, work, place);
    if (thread == 0) {
      copies.keys(shared);
      for (int stage = 0; stage < kStages && copies.more(); ++stage) copies.next(shared, stage);
    }
    __syncwarp();
    hopper::wait_for(&shared.keys_there, 0);
    Turn<kStages> stage;
    Turn<kChanges> change;
    const Index head = static_cast<Index>(place.batch) * work.heads + place.kv_head * queries;
    for (int own = 0; own < queries; ++own)
      for (int tile = place.tile; tile < work.tiles; ++tile, stage.next(), change.next()) {
        add_query_tile(shared, at, change, work.query_sums + ((head + own) * blocks + 2 * tile) * kQueryFloats);
        if (thread == 0 && copies.more()) {
          hopper::wait_for(&shared.free[stage.at], stage.parity);
          copies.next(shared, stage.at);
        }
        __syncwarp();
      }
    if (thread == 0) hopper::stores_are_there();
  } else {
    hopper::take_registers<kKeyRegisters>();
    float key_sum[32] = {}, value_sum[32] = {};
    hopper::wait_for(&shared.keys_there, 0);
    Turn<kStages> stage;
    Turn<kChanges> change;
    float s[64];
    hopper::wait_for(&shared.query_there[0], 0);
    begin_scores(shared, at, 0, s);
    hopper::products_wait<0>();
    hopper::pin(s);
    for (int own = 0; own < queries; ++own)
      for (int tile = place.tile; tile < work.tiles; ++tile, stage.next(), change.next()) {
        const bool more = tile + 1 < work.tiles || own + 1 < queries;
        if (tile == place.tile)
          one_tile<true>(shared, at, stage, change, more, s, key_sum, value_sum);
        else
          one_tile<false>(shared, at, stage, change, more, s, key_sum, value_sum);
      }
    Ends ends;
    load_ends(at, work, place, ends);
    std::uint32_t pairs[16];
    finish_values(value_sum, ends, pairs);
    store_rows(shared, product, at, work, place, work.heads + work.kv_heads + place.kv_head, pairs);
    finish_keys(shared, key_sum, at, ends, pairs);
    hopper::meet(2 + group, kGroup);  // what was stored has been read
    store_rows(shared, product, at, work, place, work.heads + place.kv_head, pairs);
  }
#endif
}

}  // namespace

bool attend_backward_fits(const Launch& l, Index length, Index heads, Index kv_heads, Index head) {
  return l.bfloat16 && head == kHead && length > 0 && length % kTile == 0 && kv_heads > 0 && heads % kv_heads == 0 && processors().usable;
}

void attend_backward(const Launch& l, const AttendBackward& a) {
  allow_shared_memory<attend_backward_kernel, sizeof(Shared)>();
  const Index rows = a.batch * a.length;
  const cuuint64_t height = static_cast<cuuint64_t>(rows), width = static_cast<cuuint64_t>(a.heads + 2 * a.kv_heads) * kHead;
  const cuuint64_t gradient_width = static_cast<cuuint64_t>(a.heads) * kHead;
  const CUtensorMap qkv = map_of<2>(a.qkv, {width, height}, {2 * width}, {kHead, kTile});
  const CUtensorMap gradient = map_of<2>(a.gradient, {gradient_width, height}, {2 * gradient_width}, {kHead, kTile});
  const CUtensorMap product = map_of<2>(a.product, {width, height}, {2 * width}, {kHead, kTile / 2});
  if (failed_before_launch != nullptr) return;
  attend_statistics(l, a);
  const Work work{static_cast<int>(a.length), static_cast<int>(a.heads), static_cast<int>(a.kv_heads), static_cast<int>(a.length / kTile),
                  a.statistics, a.query_sums, static_cast<const bf16*>(a.more_value), a.norm, a.head_norm, a.cos, a.sin};
  attend_backward_kernel<<<static_cast<unsigned>(a.batch * a.kv_heads * work.tiles), (kGroups + 1) * kGroup, sizeof(Shared),
                           static_cast<cudaStream_t>(l.stream)>>>(
      qkv, gradient, product, work);
}

}  // namespace caddie::ops::cuda

#else  // emulated threads have no matrix units

namespace caddie::ops::cuda {

bool attend_backward_fits(const Launch&, Index, Index, Index, Index) { return false; }
void attend_backward(const Launch&, const AttendBackward&) {}

}  // namespace caddie::ops::cuda

#endif
