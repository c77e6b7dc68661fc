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

// E channels a lane: lane + 32 e.
template <class T, int E>
__global__ void __launch_bounds__(kThreads) decode_kernel(Decode a) {
  __shared__ float query[kMostChannels], key[kMostChannels], value[kMostChannels];
  __shared__ float sums[kWarps][kMostChannels], weights[kWarps], most[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int size = static_cast<int>(a.head), half = size / 2, heads = static_cast<int>(a.heads), kv_heads = static_cast<int>(a.kv_heads);
  const int sequence = static_cast<int>(blockIdx.x) / heads, head = static_cast<int>(blockIdx.x) % heads;
  const int kv_head = head / (heads / kv_heads);
  const T* qkv = static_cast<const T*>(a.qkv) + static_cast<Index>(sequence) * (heads + 2 * kv_heads) * size;
  const Index cache = (static_cast<Index>(sequence) * a.capacity * kv_heads + kv_head) * size, stride = static_cast<Index>(kv_heads) * size;
  T* keys = static_cast<T*>(a.keys) + cache;
  T* values = static_cast<T*>(a.values) + cache;

  if (warp == 0) prepare(qkv + head * size, half, a.cos, a.sin, a.gain != nullptr ? a.gain[head] : 1.0f, lane, query);
  if (warp == 1) prepare(qkv + (heads + kv_head) * size, half, a.cos, a.sin, 1.0f, lane, key);
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) value[i] = widen(qkv[(heads + kv_heads + kv_head) * size + i]);
  __syncthreads();
  if (head % (heads / kv_heads) == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
      keys[a.position * stride + i] = narrow<T>(key[i]);
      values[a.position * stride + i] = narrow<T>(value[i]);
    }
  }

  const float scale = rsqrtf(static_cast<float>(size));
  float q[E], sum[E] = {}, top = kNone, weight = 0;
#pragma unroll
  for (int e = 0; e < E; ++e) q[e] = lane + e * kWarp < size ? query[lane + e * kWarp] * scale : 0.0f;
  for (Index at = warp; at <= a.position; at += kWarps) {
    const bool own = at == a.position;  // this one is in shared memory; the cache may not have it yet
    float score = 0, v[E];
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = lane + e * kWarp;
      const bool in = i < size;
      score += in ? q[e] * (own ? key[i] : widen(keys[at * stride + i])) : 0.0f;
      v[e] = in ? (own ? value[i] : widen(values[at * stride + i])) : 0.0f;
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
    if (lane + e * kWarp < size) sums[warp][lane + e * kWarp] = sum[e];
  if (lane == 0) weights[warp] = weight, most[warp] = top;
  __syncthreads();

  if (warp != 0) return;
  float best = kNone, total = 0;
  for (int w = 0; w < kWarps; ++w) best = fmaxf(best, most[w]);
  for (int w = 0; w < kWarps; ++w) total += weights[w] * expf(most[w] - best);
  float along = 0, square = 0;
#pragma unroll
  for (int e = 0; e < E; ++e) {
    const int i = lane + e * kWarp;
    sum[e] = 0;
    if (i < size) {
      for (int w = 0; w < kWarps; ++w) sum[e] += sums[w][i] * expf(most[w] - best);
      sum[e] = rounded<T>(sum[e] / total);
      along += sum[e] * value[i];
      square += value[i] * value[i];
    }
  }
  if (a.exclude) along = sum_over_lanes(along) / fmaxf(sum_over_lanes(square), 1e-24f);
  T* out = static_cast<T*>(a.out) + (static_cast<Index>(sequence) * heads + head) * size;
#pragma unroll
  for (int e = 0; e < E; ++e) {
    const int i = lane + e * kWarp;
    if (i < size) out[i] = narrow<T>(a.exclude ? sum[e] - along * value[i] : sum[e]);
  }
}

}  // namespace

bool decode_fits(Index heads, Index kv_heads, Index head) {
  return heads > 0 && kv_heads > 0 && heads % kv_heads == 0 && head > 0 && head % 2 == 0 && head <= kMostChannels;
}

void decode(const Launch& l, const Decode& a) {
  const Index blocks = a.sequences * a.heads;
  with_type(l.bfloat16, [&](auto element) {
    using T = decltype(element);
    if (a.head <= 32)
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
