// GPTQ (Frantar et al., 2022, arXiv 2210.17323) in float32, as reference section 4 has it. Two halves: the
// factorisation of a Hessian, shared by all weights with that input, and the column loop over their rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

namespace gptq {

struct Settings {
  int bits = 5;
  std::int64_t block = 128;  // columns whose errors are spread at once; changes rounding errors only
  std::vector<double> damping = {0.01, 0.1, 1};  // shares of the mean diagonal, tried in this order
  bool descending = true;                        // columns by descending diagonal, or in their own order
};

struct Factor {
  at::Tensor order;  // int64 [C]: position -> column
  at::Tensor upper;  // float32 [C, C], U with inverse(H) = U^T U, columns in `order`
  double damping;    // the share that worked
};

// Hessian float32 [C, C], symmetric. A column with diagonal 0 gets diagonal 1. Empty if no damping makes it positive
// definite.
std::optional<Factor> factorize(const at::Tensor& hessian, const Settings& settings);

struct Rows {
  at::Tensor codes;  // int8 [R, C], columns in their own order
  at::Tensor steps;  // float32 [R]
};
// weight float32 [R, C] and steps float32 [R] on the CPU.
Rows quantize_rows(const at::Tensor& weight, const at::Tensor& steps, const Factor& factor, const Settings& settings);

// The inner kernel, without LibTorch. For `count` rows lying side by side (`values` is [columns, stride], column-major
// rows: a column's values are contiguous): rounds column after column and spreads each error over the later columns of
// the block. `upper` is U's block, [columns] rows of `upper_stride`. Writes codes and errors in the layout of `values`.
void quantize_block(float* values, float* errors, signed char* codes, const float* steps, const float* upper,
                    std::int64_t columns, std::int64_t stride, std::int64_t upper_stride, std::int64_t count,
                    float top);

}  // namespace gptq
