// The low-rank residual of a quantized matrix (LQER, arXiv 2402.02446): the singular vectors of what rounding lost.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_svd.h>

#include <algorithm>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "caddie/row_codes.h"

namespace caddie {
namespace {

std::int64_t rank_of(std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  return std::min({rank, rows, columns});
}

}  // namespace

LowRank low_rank_residual(const at::Tensor& residual, std::int64_t rank, bool int8, const at::Tensor& importance) {
  const at::NoGradGuard no_gradients;
  CADDIE_ASSERT(residual.dim() == 2);
  rank = rank_of(residual.size(0), residual.size(1), rank);
  if (rank < 1) return {};
  // |E S|^2 with S = sqrt(importance) is what is approximated: E S = U D V^T, and E is nearly U D (V^T / S).
  auto scaled = residual.to(at::kDouble);
  at::Tensor scale;
  if (importance.defined()) {
    const auto wide = importance.to(at::kDouble);
    scale = wide.clamp_min(1e-8 * std::max(wide.mean().item<double>(), 1e-30)).sqrt();
    scaled = scaled.mul(scale);
  }
  const auto [u, singular, vh] = at::linalg_svd(scaled, /*full_matrices=*/false);
  const auto root = singular.narrow(0, 0, rank).sqrt().unsqueeze(1);
  const auto left = u.narrow(1, 0, rank).t().mul(root).to(at::kFloat).contiguous();
  auto right = vh.narrow(0, 0, rank).mul(root);
  if (scale.defined()) right = right.div(scale);
  right = right.to(at::kFloat).contiguous();
  if (!int8) return {left.to(at::kHalf), right.to(at::kHalf), {}, {}};
  const auto [left_codes, left_steps] = ops::quantize_rows(left, 8);
  const auto [right_codes, right_steps] = ops::quantize_rows(right, 8);
  return {left_codes, right_codes, left_steps, right_steps};
}

ExpectedSize expected_low_rank(std::int64_t rows, std::int64_t columns, std::int64_t rank, bool int8) {
  rank = rank_of(rows, columns, rank);
  if (rank < 1) return {};
  if (!int8) return expected_floats(2, false, rank * (rows + columns));
  const auto left = expected_row_codes(8, rank, rows), right = expected_row_codes(8, rank, columns);
  return {left.raw_bytes + right.raw_bytes, left.entropy_bytes + right.entropy_bytes};
}

void add_low_rank(QuantizedTensor& tensor, const at::Tensor& weight, std::int64_t rank, bool int8,
                  const at::Tensor& importance) {
  if (rank < 1 || tensor.encoding != Encoding::row_codes) return;
  // What is missing is measured against what will be decoded: with float16 steps.
  QuantizedTensor stored = tensor;
  stored.steps = tensor.steps.to(at::kHalf);
  tensor.low_rank = low_rank_residual(weight.sub(decoded_value(stored)), rank, int8, importance);
}

}  // namespace caddie
