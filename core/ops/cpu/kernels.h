// The kernels' interface: plain pointers and sizes, no LibTorch. Every instruction set fills one table; kernels() gives the
// best one that this processor runs. Matrices are row-major and dense; `bfloat16` tells the type of activations and compute
// copies (void*), everything else is float32. Each call uses `threads` threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "caddie/export.h"

namespace caddie::ops::cpu {

struct Common {
  int threads;
  bool bfloat16;
  void* (*scratch)(int slot, std::int64_t bytes);  // of the calling thread, 64-byte aligned, valid until its next call
                                                  // with that slot (0, 1)
};

// out = x + scale * down(act(up(norm(x)))), act = LeakyReLU(slope)^2.
struct Mlp {
  std::int64_t rows, width, hidden;
  float slope;
  const void *x, *up, *down;  // [N, D], [M, D], [D, M]
  const float* scale;         // [D]
};
struct MlpForward : Mlp {
  void* out;            // [N, D]
  void* before;         // [N, M], inputs of the activation; null: not kept
  float* norm;          // [N], 1 / rms of each row; null: not kept
};
struct MlpBackward : Mlp {
  const void *before, *gradient;  // gradient of out
  const float* norm;
  void* x_gradient;                              // [N, D]
  float *up_gradient, *down_gradient, *scale_gradient;
};

// out = m + scale * output(attend(qkv(norm(m)))), m = mix[0] x + mix[1] x0.
struct Attention {
  std::int64_t batch, length, width, heads, kv_heads, head;
  bool exclude;
  std::int64_t from;           // out is wanted from that position on only: [B, T - from, D]
  const void *x, *x0;          // [B T, D]
  const float* mix;            // [2, D]
  const void *qkv, *output;    // [(H + 2 K) h, D], [D, H h]
  const float *gain, *scale;   // [H], [D]
  const float *cos, *sin;      // [T, h/2]
  // Between the phases, kept for backward: rotated queries (without gain), rotated keys and values side by side; the
  // attended values (after exclusion); 1 / rms of every row and of every raw query and key; log of the softmax's sum;
  // the component along the value that the exclusion took away.
  void* rotated;               // [B T, (H + 2 K) h]
  void* attended;              // [B T, H h]
  float* norm;                 // [B T]
  float* head_norm;            // [B T, H + K]
  float* log_sum;              // [B, H, T]
  float* removed;              // [B, H, T]; only if exclude
};
struct AttentionForward : Attention {
  void* out;
};
struct AttentionBackward : Attention {
  const void* gradient;
  void *x_gradient, *x0_gradient;
  void* rotated_gradient;      // work space like `rotated`
  void* attended_gradient;     // work space like `attended`
  float *mix_gradient, *gain_gradient, *scale_gradient;
  float *query_gradient, *key_gradient, *value_gradient, *output_gradient;
};

// Nats of each row: logits = cap tanh(z / cap), z = x' E^T; x' = norm(x) if `normed`.
struct Head {
  std::int64_t rows, width, vocabulary;
  float cap;
  bool normed;
  const void *x, *embedding;   // [N, D], [V, D]
  const std::int64_t* targets;
  float* nats;                 // [N]; null: not wanted
  const float* row_gradient;   // [N] or null: `gradient` for every row
  float gradient;
  void* x_gradient;            // null: no gradients
  float* embedding_gradient;   // [V, D], overwritten
};

// out = op(x, y, factors), row by row.
enum class RowOp { norm, scaled_add, mix, squared_leaky_relu };
struct Rows {
  RowOp what;
  std::int64_t rows, width;
  const void *x, *y;      // y: scaled_add, mix
  const float* factors;   // scale [D] or mix [2, D]
  float slope;
  void* out;
};
struct ScaledAddBackward {
  std::int64_t rows, width;
  const void *y, *gradient;
  const float* scale;
  void* y_gradient;
  float* scale_gradient;
};

struct Embed {
  std::int64_t rows, width;
  const std::int64_t* tokens;
  const float* embedding;  // [V, D]
  void* out;
  float* norm;             // [N]; null: not kept
};
struct EmbedBackward {
  std::int64_t rows, width, vocabulary;
  const std::int64_t* tokens;
  const void *out, *gradient;
  const float* norm;
  float* embedding_gradient;  // [V, D], overwritten
};

// norm_rope_gain of heads that lie side by side in rows of stride `row`.
struct Rotate {
  std::int64_t batch, length, heads, head, row;
  const void* x;
  const float *cos, *sin, *gain;  // gain: [heads] or null
  void* out;                      // [B, T, heads, h]
};
struct AttendCached {
  std::int64_t batch, queries, positions, heads, kv_heads, head, cache_stride;  // elements between batch elements
  const void *query, *keys, *values;
  void* out;
};
struct Exclude {
  std::int64_t rows, heads, kv_heads, head, row;
  const void *y, *values;
  void* out;
};
struct FakeQuantize {
  std::int64_t rows, width;
  float top;
  const float* weight;
  float* out;
};

struct Kernels {
  const char* name;
  bool bfloat16_products;
  void (*mlp_forward)(const Common&, const MlpForward&);
  void (*mlp_backward)(const Common&, const MlpBackward&);
  void (*attention_forward)(const Common&, const AttentionForward&);
  void (*attention_backward)(const Common&, const AttentionBackward&);
  void (*head)(const Common&, const Head&);
  // qkv [B T, (H + 2 K) h] before norms and rotation; fills what AttentionForward keeps except norm, and not `out`.
  void (*self_attention)(const Common&, const Attention&, const void* qkv);
  void (*rows)(const Common&, const Rows&);
  void (*scaled_add_backward)(const Common&, const ScaledAddBackward&);
  void (*embed)(const Common&, const Embed&);
  void (*embed_backward)(const Common&, const EmbedBackward&);
  void (*rotate)(const Common&, const Rotate&);
  void (*attend_cached)(const Common&, const AttendCached&);
  void (*exclude)(const Common&, const Exclude&);
  void (*fake_quantize)(const Common&, const FakeQuantize&);
};

const Kernels& kernels();
// For tests and benchmarks: from now on the table of that name ("generic", "avx2", "avx512", "avx512_bf16", "amx"); null:
// the best one. False, and nothing changes, if this processor does not run it.
CADDIE_API bool choose_kernels(const char* name);

}  // namespace caddie::ops::cpu
