// The large ops as sequences of the small ones: what runs where there is no kernel for the whole, and, with the oracles, what
// the kernels are tested against.
#pragma once

#include "caddie/ops.h"

namespace caddie::ops::composed {

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                          const at::Tensor& sin, std::int64_t from);
at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, std::int64_t position, bool exclude);
at::Tensor cached_attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                                 const at::Tensor& sin, const at::Tensor& keys, const at::Tensor& values,
                                 const at::Tensor& position);
at::Tensor head_logits(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, double cap);
at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights);
at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type);

}  // namespace caddie::ops::composed
