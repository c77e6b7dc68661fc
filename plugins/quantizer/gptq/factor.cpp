// U with inverse(H) = U^T U, upper triangular, without inverting H: H = V V^T with V upper ("reverse" Cholesky: flip,
// Cholesky, flip), and U = V^-1. Half the work of Cholesky, inverse, Cholesky, and smaller rounding errors.
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "gptq.h"

namespace gptq {

std::optional<Factor> factorize(const at::Tensor& hessian, const Settings& settings) {
  const auto columns = hessian.size(0);
  auto diagonal = hessian.diagonal();
  const auto alive = at::where(diagonal.eq(0), at::ones_like(diagonal), diagonal);
  const auto order = settings.descending ? std::get<1>(alive.sort(/*stable=*/true, 0, /*descending=*/true))
                                         : at::arange(columns, hessian.options().dtype(at::kLong));
  // Flipped already: one pass of indexing in place of two.
  const auto flipped = order.flip(0);
  auto arranged = hessian.index_select(0, flipped).index_select(1, flipped);
  const auto arranged_diagonal = alive.index_select(0, flipped);
  const double mean = alive.mean().item<double>();
  for (const double share : settings.damping) {
    // In float32, as the reference: mean and product are float32 numbers.
    const float damping = std::max(static_cast<float>(share) * static_cast<float>(mean), 1e-6f);
    arranged.diagonal().copy_(arranged_diagonal.add(damping));
    const auto [lower, info] = at::linalg_cholesky_ex(arranged);
    if (info.item<int>() != 0) continue;
    const auto identity = at::eye(columns, hessian.options());
    const auto inverse = at::linalg_solve_triangular(lower, identity, /*upper=*/false);
    if (!inverse.isfinite().all().item<bool>()) continue;
    return Factor{order, inverse.flip({0, 1}).contiguous(), share};
  }
  return std::nullopt;
}

}  // namespace gptq
