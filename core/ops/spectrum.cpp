// Singular values replaced by a power law: the reference's initialisation of the embedding (reference section 2).
#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>

#include "caddie/error.h"
#include "caddie/ops.h"

namespace caddie::ops {

at::Tensor power_law_spectrum(const at::Tensor& matrix, double power) {
  CADDIE_CHECK(matrix.dim() == 2, ErrorKind::failed, "power_law_spectrum takes a matrix, not ", matrix.dim(), " dimensions");
  const auto wide = matrix.detach().to(at::kFloat);
  const auto [left, values, right] = at::linalg_svd(wide, /*full_matrices=*/false);
  const auto ranks = at::arange(1, values.size(0) + 1, values.options());
  const auto spectrum = ranks.pow(-power).mul(values.select(0, 0));
  return at::matmul(left.mul(spectrum), right).to(matrix.scalar_type());
}

}  // namespace caddie::ops
