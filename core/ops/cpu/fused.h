// The fused ops on the CPU, with autograd. Each takes what `usable` accepts; dispatch.cpp asks first.
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/ops.h"

namespace caddie::ops::cpu {

// Whether the kernels take activations like x: on the CPU, float32 or bfloat16, not empty.
bool usable(const at::Tensor& x);

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
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
at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits);

}  // namespace caddie::ops::cpu
