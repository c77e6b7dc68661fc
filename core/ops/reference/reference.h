// The oracles: every op of caddie/ops.h once in plain ATen, differentiable, on any device. They are written to be read
// and believed, not to be fast; the fast kernels are tested against them. Shapes and meaning are those of caddie/ops.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "caddie/export.h"

namespace caddie::ops::reference {

CADDIE_API at::Tensor rms_norm(const at::Tensor& x);
CADDIE_API at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix);
CADDIE_API at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale);
CADDIE_API at::Tensor squared_leaky_relu(const at::Tensor& x, double slope);

CADDIE_API at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& compute);
CADDIE_API at::Tensor linear_stacked(const at::Tensor& x, at::TensorList weights, const at::Tensor& compute);
CADDIE_API at::Tensor softcap_cross_entropy(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                            const at::Tensor& targets, double cap);

CADDIE_API at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
CADDIE_API at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                     const at::Tensor& gain);
CADDIE_API at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
CADDIE_API at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v);

CADDIE_API at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                                     const at::Tensor& gain, std::int64_t kv_heads, bool exclude);

CADDIE_API at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits);

CADDIE_API std::pair<at::Tensor, at::Tensor> inverse_factor(const at::Tensor& h);
CADDIE_API at::Tensor round_with_feedback(const at::Tensor& values, const at::Tensor& steps, const at::Tensor& upper, int top);

}  // namespace caddie::ops::reference
