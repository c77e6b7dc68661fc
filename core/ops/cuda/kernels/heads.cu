// Kernels of attention's heads. A group of `Lanes` lanes takes one head of one row; a lane holds V channels of the head's
// first half and the V channels of the second half that the rotation pairs with them. In a block, a group always takes the
// same head, so that sums over rows stay in its registers.
#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {
namespace {

constexpr float kEpsilon = 1.1920928955078125e-07f;  // caddie/ops.h: kNormEpsilon
constexpr float kSmallestSquare = 1e-24f;            // of a value's length, in exclude_self

template <int V>
struct Halves {
  float a[V], b[V];
};

// What a group works on: head `head` of rows first, first + stride, ..
struct Task {
  int head, lane, group;
  bool active;
  Index first, stride;
};
template <int Lanes>
__device__ __forceinline__ Task task_of(int heads) {
  const int thread = static_cast<int>(threadIdx.x), group = thread / Lanes, groups = static_cast<int>(blockDim.x) / Lanes;
  const int rows_a_block = groups / heads, row = group / heads;
  return {group % heads, thread % Lanes, group, row < rows_a_block, static_cast<Index>(blockIdx.x) * rows_a_block + row,
          static_cast<Index>(gridDim.x) * rows_a_block};
}

// 32-bit division is many times faster; more rows do not fit on a device.
__device__ __forceinline__ int position_of(Index row, Index length) {
  return static_cast<int>(static_cast<std::uint32_t>(row) % static_cast<std::uint32_t>(length));
}

// A head of 64 channels from the sums that attend_backward left.
template <int V>
__device__ __forceinline__ Halves<V> load_sums(const float* sums, int batch_and_head, int position, int length, int lane, bool active) {
  Halves<V> x{};
  if constexpr (V == 8) {
    const int own = position % kQueryBlock, block = batch_and_head * (length / kQueryBlock) + position / kQueryBlock;
    const float* at = sums + static_cast<Index>(block) * kQueryFloats + ((own / 8 % 2 * 4 + own / 16) * 8 + own % 8) * 8;
    if (active) {
      load<8>(at + lane * (kQueryBlock * 8), x.a);
      load<8>(at + (4 + lane) * (kQueryBlock * 8), x.b);
    }
  }
  return x;
}
// half: channels of half a head; a lane past its end holds zeros.
template <class T, int V>
__device__ __forceinline__ Halves<V> load_head(const T* head, int half, int lane, bool active) {
  Halves<V> x{};
  if (active && lane * V < half) {
    load<V>(head + lane * V, x.a);
    load<V>(head + half + lane * V, x.b);
  }
  return x;
}
template <class T, int V>
__device__ __forceinline__ void store_head(T* head, int half, int lane, bool active, const Halves<V>& x) {
  if (active && lane * V < half) {
    store<V>(head + lane * V, x.a);
    store<V>(head + half + lane * V, x.b);
  }
}
template <int Lanes, int V>
__device__ __forceinline__ float dot(const Halves<V>& x, const Halves<V>& y) {
  float sum = 0;
#pragma unroll
  for (int v = 0; v < V; ++v) sum += x.a[v] * y.a[v] + x.b[v] * y.b[v];
  return sum_over_lanes<Lanes>(sum);
}

template <class T, int V, int Lanes>
__global__ void heads_forward_kernel(Heads a) {
  const int all = static_cast<int>(a.heads + 2 * a.kv_heads), normed = static_cast<int>(a.heads + a.kv_heads);
  const int half = static_cast<int>(a.head / 2), width = all * 2 * half;
  const Task task = task_of<Lanes>(all);
  const float gain = task.head < a.heads && a.gain != nullptr ? a.gain[task.head] : 1.0f;
  // Every lane makes every round: shuffles need whole warps.
  for (Index base = static_cast<Index>(blockIdx.x) * (task.stride / gridDim.x); base < a.rows; base += task.stride) {
    const Index row = base + (task.first - static_cast<Index>(blockIdx.x) * (task.stride / gridDim.x));
    const bool active = task.active && row < a.rows;
    T* head = static_cast<T*>(a.qkv) + row * width + task.head * 2 * half;
    Halves<V> x = load_head<T, V>(head, half, task.lane, active);
    const float norm = active && a.norm != nullptr ? a.norm[row] : 1.0f;
#pragma unroll
    for (int v = 0; v < V; ++v) x.a[v] *= norm, x.b[v] *= norm;
    const float inverse = rsqrtf(dot<Lanes>(x, x) / static_cast<float>(2 * half) + kEpsilon);
    if (task.head < normed) {
      if (active && task.lane == 0 && a.head_norm != nullptr) a.head_norm[row * normed + task.head] = inverse;
      if (active && task.lane * V < half) {
        float cos[V], sin[V];
        const int at = position_of(row, a.length) * half + task.lane * V;
        load<V>(a.cos + at, cos);
        load<V>(a.sin + at, sin);
        const float factor = inverse * gain;
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const float first = x.a[v] * factor, second = x.b[v] * factor;
          x.a[v] = first * cos[v] + second * sin[v];
          x.b[v] = second * cos[v] - first * sin[v];
        }
      }
    }
    store_head<T, V>(head, half, task.lane, active, x);
  }
}

template <class T, int V, int Lanes, int kBlock>
__global__ void __launch_bounds__(kBlock, kBlock <= 256 ? 3 : 1) heads_backward_kernel(HeadsBackward a) {
  __shared__ float shared[1024 / Lanes];
  const int heads = static_cast<int>(a.heads), kv_heads = static_cast<int>(a.kv_heads);
  const int all = heads + 2 * kv_heads, normed = heads + kv_heads;
  const int half = static_cast<int>(a.head / 2), width = all * 2 * half, tasks = a.query_sums != nullptr ? heads : all;
  const Task task = task_of<Lanes>(tasks);
  const bool is_query = task.head < heads, is_value = task.head >= normed;
  const float gain = is_query && a.gain != nullptr ? a.gain[task.head] : 1.0f;
  const float inverse_gain = gain != 0.0f ? 1.0f / gain : 0.0f;
  const int own = is_query ? task.head : is_value ? task.head - normed : task.head - heads;  // among its kind
  const T* source = static_cast<const T*>(is_query ? a.query : is_value ? a.value : a.key);
  const Index source_width = static_cast<Index>(is_query ? heads : kv_heads) * 2 * half;
  float gain_sum = 0;
  const Index block_first = static_cast<Index>(blockIdx.x) * (task.stride / gridDim.x);
  for (Index base = block_first; base < a.rows; base += task.stride) {
    const Index row = base + (task.first - block_first);
    const bool active = task.active && row < a.rows;
    const int position = position_of(row, a.length);
    Halves<V> d = a.query_sums != nullptr
                      ? load_sums<V>(a.query_sums, static_cast<int>(static_cast<std::uint32_t>(row) / static_cast<std::uint32_t>(a.length)) * heads + own, position, static_cast<int>(a.length), task.lane, active)
                      : load_head<T, V>(source + row * source_width + own * 2 * half, half, task.lane, active);
    const float norm = active && a.norm != nullptr ? a.norm[row] : 1.0f;
    if (is_value && a.more_value != nullptr) {
      const T* more = static_cast<const T*>(a.more_value) + row * source_width + own * 2 * half;
      const Halves<V> other = load_head<T, V>(more, half, task.lane, active);
#pragma unroll
      for (int v = 0; v < V; ++v) d.a[v] += other.a[v], d.b[v] += other.b[v];
    }
    // With R the rotation, x = gain R n of the normed head n: dn = gain R^T d, and sum(dn n) = sum(d x). Rounded tables are
    // no exact rotation: the inverse of R is R^T over cos^2 + sin^2.
    const T* kept = static_cast<const T*>(a.qkv) + row * width + task.head * 2 * half;
    const Halves<V> x = load_head<T, V>(kept, half, task.lane, active && !is_value);
    const float along = dot<Lanes>(d, x);
    if (!is_value) {
      gain_sum += along * inverse_gain;
      if (active && task.lane * V < half) {
        float cos[V], sin[V];
        const int at = position * half + task.lane * V;
        load<V>(a.cos + at, cos);
        load<V>(a.sin + at, sin);
        const float factor = norm * a.head_norm[row * normed + task.head];
        const float mean = along * inverse_gain / static_cast<float>(2 * half);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const float shrink = __fdividef(mean, cos[v] * cos[v] + sin[v] * sin[v]);
          const float first = factor * (gain * d.a[v] - shrink * x.a[v]), second = factor * (gain * d.b[v] - shrink * x.b[v]);
          d.a[v] = first * cos[v] - second * sin[v];
          d.b[v] = first * sin[v] + second * cos[v];
        }
      }
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v) d.a[v] *= norm, d.b[v] *= norm;
    }
    store_head<T, V>(static_cast<T*>(a.product) + row * width + task.head * 2 * half, half, task.lane, active, d);
  }
  if (task.lane == 0) shared[task.group] = task.active && is_query ? gain_sum : 0.0f;
  __syncthreads();
  const int groups = static_cast<int>(blockDim.x) / Lanes;
  for (int head = static_cast<int>(threadIdx.x); head < heads; head += static_cast<int>(blockDim.x)) {
    float total = 0;
    for (int group = head; group < groups; group += tasks) total += shared[group];
    a.partials[static_cast<Index>(blockIdx.x) * heads + head] = total;
  }
}

template <class T, int V, int Lanes, bool kBackward>
__global__ void exclude_kernel(Exclude f, ExcludeBackward b) {
  const int kv_heads = static_cast<int>(kBackward ? b.kv_heads : f.kv_heads);
  const int queries = static_cast<int>(kBackward ? b.heads : f.heads) / kv_heads;  // of a key/value head
  const int half = static_cast<int>(kBackward ? b.head : f.head) / 2, size = 2 * half;
  const Index rows = kBackward ? b.rows : f.rows, value_stride = kBackward ? b.value_stride : f.value_stride;
  const Task task = task_of<Lanes>(kv_heads);
  const Index block_first = static_cast<Index>(blockIdx.x) * (task.stride / gridDim.x);
  for (Index base = block_first; base < rows; base += task.stride) {
    const Index row = base + (task.first - block_first);
    const bool active = task.active && row < rows;
    const T* value = static_cast<const T*>(kBackward ? b.value : f.value) + row * value_stride + task.head * size;
    const Halves<V> v = load_head<T, V>(value, half, task.lane, active);
    const float square = dot<Lanes>(v, v);
    const bool tiny = square < kSmallestSquare;
    const float inverse = 1.0f / (tiny ? kSmallestSquare : square);
    Halves<V> sum{};  // the value's gradient
    for (int query = 0; query < queries; ++query) {
      const Index at = (row * kv_heads * queries + task.head * queries + query) * size;
      Halves<V> y = load_head<T, V>(static_cast<const T*>(kBackward ? b.y : f.y) + at, half, task.lane, active);
      const float along = dot<Lanes>(y, v) * inverse;
      if constexpr (kBackward) {
        Halves<V> d = load_head<T, V>(static_cast<const T*>(b.gradient) + at, half, task.lane, active);
        const float d_along = dot<Lanes>(d, v) * inverse, both = tiny ? 0.0f : 2 * along * d_along;
#pragma unroll
        for (int i = 0; i < V; ++i) {
          sum.a[i] += both * v.a[i] - along * d.a[i] - d_along * y.a[i];
          sum.b[i] += both * v.b[i] - along * d.b[i] - d_along * y.b[i];
          d.a[i] -= d_along * v.a[i];
          d.b[i] -= d_along * v.b[i];
        }
        store_head<T, V>(static_cast<T*>(b.y_gradient) + at, half, task.lane, active, d);
      } else {
#pragma unroll
        for (int i = 0; i < V; ++i) y.a[i] -= along * v.a[i], y.b[i] -= along * v.b[i];
        store_head<T, V>(static_cast<T*>(f.out) + at, half, task.lane, active, y);
      }
    }
    if constexpr (kBackward)
      store_head<T, V>(static_cast<T*>(b.value_gradient) + (row * kv_heads + task.head) * size, half, task.lane, active, sum);
  }
}

// body(V, Lanes, threads of a block), as Numbers.
template <class Body>
void with_head_shape(Index head, Body body) {
  const Index half = head / 2;
  if (head % 16 == 0) {
    if (half <= 8) return body(Number<8>{}, Number<1>{}, Number<256>{});
    if (half <= 16) return body(Number<8>{}, Number<2>{}, Number<256>{});
    if (half <= 32) return body(Number<8>{}, Number<4>{}, Number<256>{});
    if (half <= 64) return body(Number<8>{}, Number<8>{}, Number<256>{});
    return body(Number<8>{}, Number<16>{}, Number<512>{});
  }
  if (half <= 8) return body(Number<1>{}, Number<8>{}, Number<256>{});
  return body(Number<1>{}, Number<32>{}, Number<1024>{});
}

Index rows_a_block(Index head, Index heads) {
  Index rows = 0;
  with_head_shape(head, [&](auto, auto lanes, auto threads) { rows = threads() / lanes() / heads; });
  return rows;
}

template <class Body>
void with_heads(const Launch& l, Index head, Body body) {
  with_type(l.bfloat16, [&](auto element) {
    with_head_shape(head, [&](auto v, auto lanes, auto threads) { body(element, v, lanes, threads); });
  });
}

}  // namespace

bool heads_fit(Index heads, Index kv_heads, Index head) {
  if (heads <= 0 || kv_heads < 0 || head < 2 || head % 2 != 0) return false;
  if (head % 16 == 0 ? head > 256 : head > 64) return false;
  return rows_a_block(head, heads + 2 * kv_heads) > 0;
}

void heads_forward(const Launch& l, const Heads& a) {
  const Index blocks = blocks_for(a.rows, rows_a_block(a.head, a.heads + 2 * a.kv_heads));
  with_heads(l, a.head, [&](auto element, auto v, auto lanes, auto threads) {
    launch(heads_forward_kernel<decltype(element), v(), lanes()>, blocks, threads(), l.stream, a);
  });
}

void heads_backward(const Launch& l, const HeadsBackward& a) {
  const Index tasks = a.query_sums != nullptr ? a.heads : a.heads + 2 * a.kv_heads;
  const Index blocks = capped(blocks_for(a.rows, rows_a_block(a.head, tasks)), 3);
  with_heads(l, a.head, [&](auto element, auto v, auto lanes, auto threads) {
    launch(heads_backward_kernel<decltype(element), v(), lanes(), threads()>, blocks, threads(), l.stream, a);
  });
  column_sums(l.stream, a.partials, blocks, a.heads, a.gain_gradient);
}

void exclude(const Launch& l, const Exclude& a) {
  const Index blocks = blocks_for(a.rows, rows_a_block(a.head, a.kv_heads));
  with_heads(l, a.head, [&](auto element, auto v, auto lanes, auto threads) {
    launch(exclude_kernel<decltype(element), v(), lanes(), false>, blocks, threads(), l.stream, a, ExcludeBackward{});
  });
}

void exclude_backward(const Launch& l, const ExcludeBackward& a) {
  const Index blocks = blocks_for(a.rows, rows_a_block(a.head, a.kv_heads));
  with_heads(l, a.head, [&](auto element, auto v, auto lanes, auto threads) {
    launch(exclude_kernel<decltype(element), v(), lanes(), true>, blocks, threads(), l.stream, Exclude{}, a);
  });
}

}  // namespace caddie::ops::cuda
