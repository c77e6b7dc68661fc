// Oracles of GPTQ's linear algebra (caddie/ops.h): LAPACK's factor, and a loop over columns.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "core/ops/reference/reference.h"

namespace caddie::ops::reference {

std::pair<at::Tensor, at::Tensor> inverse_factor(const at::Tensor& h) {
  const at::NoGradGuard guard;
  const auto [lower, info] = at::linalg_cholesky_ex(h.flip({1, 2}));
  const auto good = info.eq(0);
  const auto identity = at::eye(h.size(1), h.options()).expand_as(h);
  // A matrix without a factor must not stop the others.
  const auto safe = at::where(good.view({-1, 1, 1}), lower, identity);
  return {at::linalg_solve_triangular(safe, identity, /*upper=*/false).flip({1, 2}).contiguous(), good};
}

at::Tensor round_with_feedback(const at::Tensor& values, const at::Tensor& steps, const at::Tensor& upper, int top) {
  const at::NoGradGuard guard;
  const auto columns = values.size(1);
  auto left = values.clone();
  const auto codes = at::empty(values.sizes(), values.options().dtype(at::kChar));
  for (std::int64_t column = 0; column < columns; ++column) {
    const auto value = left.select(1, column);
    const auto level = value.div(steps).clamp(-top, top).round();
    codes.select(1, column).copy_(level);
    const auto row = upper.select(1, column);  // [n, C]
    const auto error = value.sub(level.mul(steps)).div(row.narrow(1, column, 1));
    const auto rest = columns - column - 1;
    if (rest > 0)
      left.narrow(1, column + 1, rest).sub_(row.narrow(1, column + 1, rest).unsqueeze(2).mul(error.unsqueeze(1)));
  }
  return codes;
}

}  // namespace caddie::ops::reference
