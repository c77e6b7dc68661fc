// Attention of one new position over cached keys and values, with all that lies between the projections: norm, rotation, gain,
// writing the cache, softmax, exclusion. A block takes a query head of a sequence; its warps share the positions and keep a
// running maximum each. Blocks of one key/value head make its new key and value each for themselves; the first writes them.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon
constexpr int kMostChannels = 256;
constexpr float kNone = -3.0e38f;

// One warp: from[0, 2 half) normed, rotated, times gain, rounded, into shared memory. half <= 32 M.
template <int M, class T>
__device__ __forceinline__ void turn(const T* from, int half, const float* cos, const float* sin, float gain, int lane, float* to) {
  float a[M], b[M], c[M], s[M], sum = 0;
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int i = lane + m * kWarp;
    const bool there = i < half;
    a[m] = there ? widen(from[i]) : 0.0f, b[m] = there ? widen(from[half + i]) : 0.0f;
    c[m] = there ? cos[i] : 0.0f, s[m] = there ? sin[i] : 0.0f;
  }
#pragma unroll
  for (int m = 0; m < M; ++m) sum += a[m] * a[m] + b[m] * b[m];
  const float factor = rsqrtf(sum_over_lanes(sum) / static_cast<float>(2 * half) + kEpsilon) * gain;
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const int i = lane + m * kWarp;
    if (i < half) {
      to[i] = rounded<T>(a[m] * factor * c[m] + b[m] * factor * s[m]);
      to[half + i] = rounded<T>(b[m] * factor * c[m] - a[m] * factor * s[m]);
    }
  }
}

// What the threads of a block share.
struct Shared {
  float query[kMostChannels], key[kMostChannels], value[kMostChannels];
  float sums[kWarps][kMostChannels], weights[kWarps], most[kWarps];
};

// A block's part of the arrays. The constructor waits for the launches ahead: behind it the position is known.
template <class T>
struct Task {
  int lane, warp, size, heads, kv_heads, head, kv_head;
  Index sequence, position, stride;
  T *keys, *values;

  __device__ __forceinline__ explicit Task(const Decode& a) {
    let_next_begin();
    lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    size = static_cast<int>(a.head), heads = static_cast<int>(a.heads), kv_heads = static_cast<int>(a.kv_heads);
    sequence = static_cast<Index>(blockIdx.x) / heads, head = static_cast<int>(blockIdx.x) % heads;
    kv_head = head / (heads / kv_heads);
    const Index cache = (sequence * a.capacity * kv_heads + kv_head) * size;
    stride = static_cast<Index>(kv_heads) * size;
    keys = static_cast<T*>(a.keys) + cache, values = static_cast<T*>(a.values) + cache;
    position = a.position;
    if (a.at != nullptr) {
      warm(a);
      wait_for_previous();
      position = *a.at;
    } else {
      wait_for_previous();
    }
  }

  // Asks for what will be read, by a position that may not be the last one yet: nothing but time hangs on it.
  __device__ __forceinline__ void warm(const Decode& a) const {
    constexpr int kLine = 128;
    Index about = *static_cast<const volatile Index*>(a.at);
    about = about < a.capacity ? about : a.capacity - 1;
    const int sharers = heads / kv_heads, half = size / 2;
    for (Index at = static_cast<Index>(threadIdx.x) * sharers + head % sharers; at < about; at += kThreads * sharers) {
      for (int i = 0; i < size; i += kLine / static_cast<int>(sizeof(T))) {
        prefetch(keys + at * stride + i);
        prefetch(values + at * stride + i);
      }
    }
    const int i = static_cast<int>(threadIdx.x) * (kLine / 4);
    if (i < half && about >= 0) prefetch(a.cos + about * half + i), prefetch(a.sin + about * half + i);
    if (threadIdx.x == 0 && a.gain != nullptr) prefetch(a.gain + head);
  }

  // The new query, key and value, in shared memory when this returns, and in the cache at the end of the launch.
  template <int M>
  __device__ __forceinline__ void prepare(const Decode& a, Shared& shared) const {
    const int half = size / 2;
    const float* cos = a.cos + (a.at != nullptr ? position * half : 0);
    const float* sin = a.sin + (a.at != nullptr ? position * half : 0);
    const T* qkv = static_cast<const T*>(a.qkv) + sequence * (heads + 2 * kv_heads) * size;
    if (warp == 0) turn<M>(qkv + head * size, half, cos, sin, a.gain != nullptr ? a.gain[head] : 1.0f, lane, shared.query);
    if (warp == 1) turn<M>(qkv + (heads + kv_head) * size, half, cos, sin, 1.0f, lane, shared.key);
    if (warp >= 2) {
      for (int i = static_cast<int>(threadIdx.x) - 2 * kWarp; i < size; i += kThreads - 2 * kWarp)
        shared.value[i] = widen(qkv[(heads + kv_heads + kv_head) * size + i]);
    }
    __syncthreads();
    if (head % (heads / kv_heads) == 0) {
      for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
        keys[position * stride + i] = narrow<T>(shared.key[i]);
        values[position * stride + i] = narrow<T>(shared.value[i]);
      }
    }
  }

  // From the warps' sums over the positions before, in shared memory, and the new one to the output. E channels a lane: lane + 32 e.
  template <int E>
  __device__ __forceinline__ void finish(const Decode& a, const Shared& shared) const {
    __syncthreads();
    if (warp != 0) return;
    float own = 0, sum[E], share[kWarps], along = 0, square = 0;
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = lane + e * kWarp;
      if (i < size) own += shared.query[i] * shared.key[i];
    }
    own = sum_over_lanes(own) * rsqrtf(static_cast<float>(size));
    float best = own;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) best = fmaxf(best, shared.most[w]);
    const float of_own = expf(own - best);
    float total = of_own;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      share[w] = expf(shared.most[w] - best);
      total += shared.weights[w] * share[w];
    }
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = lane + e * kWarp;
      sum[e] = 0;
      if (i < size) {
        const float value = shared.value[i];
        sum[e] = of_own * value;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) sum[e] += shared.sums[w][i] * share[w];
        sum[e] = rounded<T>(sum[e] / total);
        along += sum[e] * value;
        square += value * value;
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
  const Task<T> task(a);
  task.template prepare<(E + 1) / 2>(a, shared);
  const float scale = rsqrtf(static_cast<float>(task.size));
  float q[E], sum[E] = {}, top = kNone, weight = 0;
#pragma unroll
  for (int e = 0; e < E; ++e) q[e] = task.lane + e * kWarp < task.size ? shared.query[task.lane + e * kWarp] * scale : 0.0f;
  for (Index at = task.warp; at < task.position; at += kWarps) {
    float score = 0, v[E];
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int i = task.lane + e * kWarp;
      const bool in = i < task.size;
      score += in ? q[e] * widen(task.keys[at * task.stride + i]) : 0.0f;
      v[e] = in ? widen(task.values[at * task.stride + i]) : 0.0f;
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

// Eight elements as they lie in memory: many can be on their way at once.
template <class T>
struct Eight {
  uint4 words[sizeof(T) / 2];
};
template <class T>
__device__ __forceinline__ Eight<T> eight_at(const T* from, bool there) {
  Eight<T> eight{};
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T)) / 2; ++i)
    if (there) eight.words[i] = reinterpret_cast<const uint4*>(from)[i];
  return eight;
}

// Heads of 8 G channels, G a power of two: G lanes take a position with one access each, a warp 32 / G positions, some in flight.
template <class T, int G>
__global__ void __launch_bounds__(kThreads, 2) decode_groups_kernel(Decode a) {
  constexpr int kTogether = kWarp / G, kAcross = kWarps * kTogether, kInFlight = 16 / static_cast<int>(sizeof(T));
  __shared__ Shared shared;
  const Task<T> task(a);
  const int channel = task.lane % G * 8, group = task.lane / G;
  const int before = static_cast<int>(task.position), stride = static_cast<int>(task.stride);
  Eight<T> keys[kInFlight], values[kInFlight];
  const auto load_from = [&](int first) {
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      const int at = first + u * kAcross + group;
      keys[u] = eight_at(task.keys + at * stride + channel, at < before);
      values[u] = eight_at(task.values + at * stride + channel, at < before);
    }
  };
  const int begin = task.warp * kTogether;
  load_from(begin);
  task.template prepare<(G + 7) / 8>(a, shared);
  const float scale = rsqrtf(static_cast<float>(task.size));
  float q[8], sum[8] = {}, top = kNone, weight = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) q[i] = shared.query[channel + i] * scale;
  for (int first = begin; first < before; first += kInFlight * kAcross) {
    if (first > begin) load_from(first);
    float score[kInFlight], next = top;
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      float k[8];
      load<8>(reinterpret_cast<const T*>(&keys[u]), k);
      score[u] = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) score[u] += q[i] * k[i];
      score[u] = sum_over_lanes<G>(score[u]);
      if (first + u * kAcross + group < before) next = fmaxf(next, score[u]);
    }
    const float keep = expf(top - next);
    top = next;
    weight *= keep;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] *= keep;
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) {
      const float share = first + u * kAcross + group < before ? expf(score[u] - top) : 0.0f;
      float v[8];
      load<8>(reinterpret_cast<const T*>(&values[u]), v);
      weight += share;
#pragma unroll
      for (int i = 0; i < 8; ++i) sum[i] += share * v[i];
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
      launch_early(l.early, decode_groups_kernel<T, 4>, blocks, kThreads, l.stream, a);
    else if (a.head == 64)
      launch_early(l.early, decode_groups_kernel<T, 8>, blocks, kThreads, l.stream, a);
    else if (a.head == 128)
      launch_early(l.early, decode_groups_kernel<T, 16>, blocks, kThreads, l.stream, a);
    else if (a.head <= 32)
      launch_early(l.early, decode_kernel<T, 1>, blocks, kThreads, l.stream, a);
    else if (a.head <= 64)
      launch_early(l.early, decode_kernel<T, 2>, blocks, kThreads, l.stream, a);
    else if (a.head <= 128)
      launch_early(l.early, decode_kernel<T, 4>, blocks, kThreads, l.stream, a);
    else
      launch_early(l.early, decode_kernel<T, 8>, blocks, kThreads, l.stream, a);
  });
}

}  // namespace caddie::ops::cuda
