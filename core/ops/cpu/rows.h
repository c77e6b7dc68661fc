// One call for the ops of single rows; for the fused_*.cpp files only.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/ops/cpu/kernels.h"

namespace caddie::ops::cpu {

// x, y dense and of one shape; y and factors may be undefined.
at::Tensor run_rows(RowOp what, const at::Tensor& x, const at::Tensor& y, const at::Tensor& factors, double slope = 0);

}  // namespace caddie::ops::cpu
