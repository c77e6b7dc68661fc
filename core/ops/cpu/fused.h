// The fused ops on the CPU, with autograd. Each takes what `usable` accepts; dispatch.cpp asks first.
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/ops.h"

namespace caddie::ops::cpu {

// Whether the kernels take activations like x: on the CPU, float32 or bfloat16, not empty.
bool usable(const at::Tensor& x);

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                          const at::Tensor& sin);
at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights);
at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap, bool normed);
at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap);

}  // namespace caddie::ops::cpu
