// The choice of the next token inside a recorded step of generation: everything that changes from step to step lies on the
// device. What is chosen is what core/base/sampling.h chooses.
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/export.h"

namespace caddie::ops {

// With p = position[0]: one token a row of logits float32 [B, V] by inversion with levels float64 [steps, B] at row p, at
// temperature 0 the likeliest (levels are not read then, but must be there). Written to next int64 [B, 1] and, where p + 1 < L, to
// tokens int64 [B, L] at column p + 1. Then position[0] is p + 1.
CADDIE_API void pick_next(const at::Tensor& logits, const at::Tensor& levels, at::Tensor& position, double temperature,
                          at::Tensor& next, at::Tensor& tokens);

}  // namespace caddie::ops
