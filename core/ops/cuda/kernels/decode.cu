// Attention of one new position over cached keys and values, with all that lies between the projections: norm, rotation, gain,
// writing the cache, softmax, exclusion. A block takes a query head of a sequence; its warps share the positions and keep a
// running maximum each. Blocks of one key/value head make its new key and value each for themselves; the first writes them.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon
constexpr int kMostChannels = 256;
constexpr float kNone = -3.0e38f;

// One warp: from[0, 2 half) normed, rotated, times gain, rounded, into shared memory.
template <class T>
__device__ __forceinline__ void prepare(const T* from, int half, const float* cos, const float* sin, float gain, int lane, float* to) {
  float sum = 0;
  for (int i = lane; i < 2 * half; i += kWarp) sum += widen(from[i]) * widen(from[i]);
  const float factor = rsqrtf(sum_over_lanes(sum) / static_cast<float>(2 * half) + kEpsilon) * gain;
  for (int i = lane; i < half; i += kWarp) {
    const float a = widen(from[i]) * factor, b = widen(from[half + i]) * factor;
    to[i] = rounded<T>(a * cos[i] + b * sin[i]);
    to[half + i] = rounded<T>(b * cos[i] - a * sin[i]);
  }
}

// What the threads of a block share.
struct Shared {
  float query[kMostChannels], key[kMostChannels], value[kMostChannels];
  float sums[kWarps][kMostChannels], weights[kWarps], most[kWarps];
};

// A block's part of the arrays, and its new query, key and value, which are in shared memory when this returns.
template <class T>
struct Task {
  int lane, warp, size, heads, head;
  Index sequence, position, stride;
  const T *keys, *values;

  __device__ __forceinline__ Task(const Decode& a, Shared& shared) {
    lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    size = static_cast<int>(a.head), heads = static_cast<int>(a.heads);
    const int half = size / 2, kv_heads = static_cast<int>(a.kv_heads);
    sequence = static_cast<Index>(blockIdx.x) / heads, head = static_cast<int>(blockIdx.x) % heads;
    const int kv_head = head / (heads / kv_heads);
    position = a.at != nullptr ? *a.at : a.position;
    const float* cos = a.cos + (a.at != nullptr ? position * half : 0);
    const float* sin = a.sin + (a.at != nullptr ? position * half : 0);
    const T* qkv = static_cast<const T*>(a.qkv) + sequence * (heads + 2 * kv_heads) * size;
    const Index cache = (sequence * a.capacity * kv_heads + kv_head) * size;
    stride = static_cast<Index>(kv_heads) * size;
    T* own_keys = static_cast<T*>(a.keys) + cache;
    T* own_values = static_cast<T*>(a.values) + cache;
    keys = own_keys, values = own_values;
    if (warp == 0) prepare(qkv + head * size, half, cos, sin, a.gain != nullptr ? a.gain[head] : 1.0f, lane, shared.query);
    if (warp == 1) prepare(qkv + (heads + kv_head) * size, half, cos, sin, 1.0f, lane, shared.key);
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads)
      shared.value[i] = widen(qkv[(heads + kv_heads + kv_head) * size + i]);
    __syncthreads();
    if (head % (heads / kv_heads) == 0) {
      for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
        own_keys[position * stride + i] = narrow<T>(shared.key[i]);
        own_values[position * stride + i] = narrow<T>(shared.value[i]);
      }
    }
  }

  // From the warps' sums in shared memory to the output. E channels a lane: lane + 32 e.
  template <int E>
  __device__ __forceinline__ void finish(const Decode& a, const Shared& shared) const {
    __syncthreads();
    if (warp != 0) return;
    float best = kNone, total = 0, sum[E], along = 0, square = 0;
    for (int w = 0; w < kWarps; ++w) best = fmaxf(best, shared.most[w]);
    for (int w = 0; w < kWarps; ++w) total += shared.weights[w] * expf(shared.most[w] - best);
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = lane + e * kWarp;
      sum[e] = 0;
      if (i < size) {
        for (int w = 0; w < kWarps; ++w) sum[e] += shared.sums[w][i] * expf(shared.most[w] - best);
        sum[e] = rounded<T>(sum[e] / total);
        along += sum[e] * shared.value[i];
        square += shared.value[i] * shared.value[i];
      }
    }
    if (a.exclude) along = sum_over_lanes(along) / fmaxf(sum_over_lanes(square), 1e-24f);
    T* out = static_cast<T*>(a.out) + (sequence * heads + head) * size;
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = lane + e * kWarp;
      if (i < size) out[i] = narrow<T>(a.exclude ? sum[e] - along * shared.value[i] : sum[e]);
    }
  }
};

// Any head: a warp takes a position at a time.
template <class T, int E>
__global__ void __launch_bounds__(kThreads) decode_kernel(Decode a) {
  __shared__ Shared shared;
  const Task<T> task(a, shared);
  const float scale = rsqrtf(static_cast<float>(task.size));
  float q[E], sum[E] = {}, top = kNone, weight = 0;
#pragma unroll
  for (int e = 0; e < E; ++e) q[e] = task.lane + e * kWarp < task.size ? shared.query[task.lane + e * kWarp] * scale : 0.0f;
  for (Index at = task.warp; at <= task.position; at += kWarps) {
    const bool own = at == task.position;  // this one is in shared memory; the cache may not have it yet
    float score = 0, v[E];
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = task.lane + e * kWarp;
      const bool in = i < task.size;
      score += in ? q[e] * (own ? shared.key[i] : widen(task.keys[at * task.stride + i])) : 0.0f;
      v[e] = in ? (own ? shared.value[i] : widen(task.values[at * task.stride + i])) : 0.0f;
    }
    score = sum_over_lanes(score);
    const float next = fmaxf(top, score), keep = expf(top - next), share = expf(score - next);
    top = next;
    weight = weight * keep + share;
#pragma unroll
    for (int e = 0; e < E; ++e) sum[e] = sum[e] * keep + share * v[e];
  }
#pragma unroll
  for (int e = 0; e < E; ++e)
    if (task.lane + e * kWarp < task.size) shared.sums[task.warp][task.lane + e * kWarp] = sum[e];
  if (task.lane == 0) shared.weights[task.warp] = weight, shared.most[task.warp] = top;
  task.template finish<E>(a, shared);
}

// Heads of 8 G channels, G a power of two: G lanes take a position with one access each, a warp 32 / G positions, four times in flight.
template <class T, int G>
__global__ void __launch_bounds__(kThreads) decode_groups_kernel(Decode a) {
  constexpr int kTogether = kWarp / G, kAcross = kWarps * kTogether, kInFlight = 4;
  __shared__ Shared shared;
  const Task<T> task(a, shared);
  const int channel = task.lane % G * 8, group = task.lane / G;
  const float scale = rsqrtf(static_cast<float>(task.size));
  float q[8], sum[8] = {}, top = kNone, weight = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) q[i] = shared.query[channel + i] * scale;
  for (Index first = task.warp * kTogether; first <= task.position; first += kInFlight * kAcross) {
    float k[kInFlight][8], v[kInFlight][8], score[kInFlight];
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      const Index at = first + u * kAcross + group;
      if (at < task.position) {
        load<8>(task.keys + at * task.stride + channel, k[u]);
        load<8>(task.values + at * task.stride + channel, v[u]);
      } else {  // the new one is in shared memory; the cache may not have it yet
#pragma unroll
        for (int i = 0; i < 8; ++i) k[u][i] = shared.key[channel + i], v[u][i] = shared.value[channel + i];
      }
    }
    float next = top;
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      score[u] = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) score[u] += q[i] * k[u][i];
      score[u] = sum_over_lanes<G>(score[u]);
      if (first + u * kAcross + group <= task.position) next = fmaxf(next, score[u]);
    }
    const float keep = expf(top - next);
    top = next;
    weight *= keep;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] *= keep;
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      const float share = first + u * kAcross + group <= task.position ? expf(score[u] - top) : 0.0f;
      weight += share;
#pragma unroll
      for (int i = 0; i < 8; ++i) sum[i] += share * v[u][i];
    }
  }
  float most = top;
#pragma unroll
  for (int distance = G; distance < kWarp; distance *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, distance));
  const float keep = weight > 0 ? expf(top - most) : 0.0f;
  weight *= keep;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i] *= keep;
#pragma unroll
  for (int distance = G; distance < kWarp; distance *= 2) {
    weight += __shfl_xor_sync(0xffffffffu, weight, distance);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], distance);
  }
  if (task.lane < G) {
#pragma unroll
    for (int i = 0; i < 8; ++i) shared.sums[task.warp][channel + i] = sum[i];
  }
  if (task.lane == 0) shared.weights[task.warp] = weight, shared.most[task.warp] = most;
  task.template finish<(G + 3) / 4>(a, shared);
}

}  // namespace

bool decode_fits(Index heads, Index kv_heads, Index head) {
  return heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && head > 0 && head % 2 == 0 && head <= kMostChannels;
}

void decode(const Launch& l, const Decode& a) {
  const Index blocks = a.sequences * a.heads;
  with_type(l.bfloat16, [&](auto element) {
    using T = decltype(element);
    if (a.head == 32)
      launch(decode_groups_kernel<T, 4>, blocks, kThreads, l.stream, a);
    else if (a.head == 64)
      launch(decode_groups_kernel<T, 8>, blocks, kThreads, l.stream, a);
    else if (a.head == 128)
      launch(decode_groups_kernel<T, 16>, blocks, kThreads, l.stream, a);
    else if (a.head <= 32)
      launch(decode_kernel<T, 1>, blocks, kThreads, l.stream, a);
    else if (a.head <= 64)
      launch(decode_kernel<T, 2>, blocks, kThreads, l.stream, a);
    else if (a.head <= 128)
      launch(decode_kernel<T, 4>, blocks, kThreads, l.stream, a);
    else
      launch(decode_kernel<T, 8>, blocks, kThreads, l.stream, a);
  });
}

}  // namespace caddie::ops::cuda
