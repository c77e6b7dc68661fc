// The fused ops on CUDA devices, with autograd. Each takes what `usable` and `heads_usable` accept; dispatch.cpp asks first. In
// builds without kernels `usable` is always false (absent.cpp).
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/ops.h"

namespace caddie::ops::cuda {

// Whether the kernels take rows like x: on a CUDA device, float32 or bfloat16, not empty, of a width that they hold.
bool usable(const at::Tensor& x);
// The same for tensors of any width.
bool usable_elements(const at::Tensor& x);
bool heads_usable(std::int64_t heads, std::int64_t kv_heads, std::int64_t head);

Passed attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                      const at::Tensor& sin, std::int64_t from);
at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights);
at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap, bool normed);
at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap);
at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type);
at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale);

// Without gradients.
at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                          std::int64_t kv_heads, bool exclude);
at::Tensor rms_norm(const at::Tensor& x);
at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix);
at::Tensor squared_leaky_relu(const at::Tensor& x, double slope);
at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain);
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v);
// For one position (T = 1); decode_usable asks the rest.
bool decode_usable(const at::Tensor& qkv, std::int64_t heads, std::int64_t kv_heads, std::int64_t head);
at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, std::int64_t position, bool exclude);
at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, const at::Tensor& position, bool exclude);
// Rows like x, and rows of `more_inputs` columns, few enough for kernels that take whole products at once.
bool few_rows_usable(const at::Tensor& x, at::IntArrayRef more_inputs);
at::Tensor cached_attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                                 const at::Tensor& sin, const at::Tensor& keys, const at::Tensor& values,
                                 const at::Tensor& position);
at::Tensor few_rows_mlp_half(const at::Tensor& x, const MlpHalf& weights);
at::Tensor head_logits(const at::Tensor& x, const at::Tensor& compute, double cap);
// core/ops/pick_next.h
void pick_next(const at::Tensor& logits, const at::Tensor& levels, const at::Tensor& position, double temperature,
               const at::Tensor& next, const at::Tensor& tokens);
std::pair<at::Tensor, at::Tensor> inverse_factor(const at::Tensor& h);
at::Tensor round_with_feedback(const at::Tensor& values, const at::Tensor& steps, const at::Tensor& upper, int top,
                               std::int64_t block);
at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits);

}  // namespace caddie::ops::cuda
