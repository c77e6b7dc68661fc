// GPTQ's linear algebra on a CUDA device, for many matrices of one shape at once: what is no matrix product are two kernels.
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {
namespace {

at::Tensor part(const at::Tensor& m, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
  return m.narrow(1, row, rows).narrow(2, column, columns);
}

}  // namespace

// Right-looking blocked Cholesky of the matrix with rows and columns in reverse, and the inverse of its factor row block by row
// block: X_k = -inverse(L_kk) L_k,<k X_<k.
std::pair<at::Tensor, at::Tensor> inverse_factor(const at::Tensor& h) {
  const auto n = h.size(0), columns = h.size(1);
  const auto matrix = h.flip({1, 2}).contiguous(), inverse = at::zeros_like(matrix);
  const auto good = at::ones({n}, h.options().dtype(at::kByte));
  const auto launch = launch_for(at::kFloat);
  for (std::int64_t first = 0; first < columns; first += kFactorBlock) {
    const auto size = std::min<std::int64_t>(kFactorBlock, columns - first), rest = columns - first - size;
    const auto offset = first * columns + first;
    factor_block(launch, {n, size, columns * columns, columns, columns * columns, columns, floats_of(matrix) + offset,
                          floats_of(inverse) + offset, good.mutable_data_ptr<std::uint8_t>()});
    const auto own = part(inverse, first, size, first, size);
    if (first > 0) {
      const auto before = at::bmm(part(matrix, first, size, 0, first), part(inverse, 0, first, 0, first));
      part(inverse, first, size, 0, first).copy_(at::bmm(own, before).neg_());
    }
    if (rest == 0) break;
    const auto panel = at::bmm(part(matrix, first + size, rest, first, size), own.transpose(1, 2));
    part(matrix, first + size, rest, first, size).copy_(panel);
    part(matrix, first + size, rest, first + size, rest).baddbmm_(panel, panel.transpose(1, 2), 1, -1);
  }
  check_launches();
  return {inverse.flip({1, 2}).contiguous(), good.to(at::kBool)};
}

at::Tensor round_with_feedback(const at::Tensor& values, const at::Tensor& steps, const at::Tensor& upper, int top,
                               std::int64_t block) {
  const auto n = values.size(0), columns = values.size(1), rows = values.size(2);
  const auto left = values.clone(at::MemoryFormat::Contiguous), errors = at::empty_like(left);
  const auto own_steps = steps.contiguous(), factor = upper.contiguous();
  const auto codes = at::empty({n, columns, rows}, values.options().dtype(at::kChar));
  const auto launch = launch_for(at::kFloat);
  const auto each = std::clamp<std::int64_t>(block, 1, kFactorBlock);
  for (std::int64_t first = 0; first < columns; first += each) {
    const auto count = std::min(each, columns - first);
    if (first > 0)  // a block gets the errors of all columns before it when it begins
      left.narrow(1, first, count).baddbmm_(part(factor, 0, first, first, count).transpose(1, 2), errors.narrow(1, 0, first), 1, -1);
    feedback(launch, {n, columns, rows, first, count, floats(left), floats(own_steps), floats(factor), static_cast<float>(top),
                      floats_of(errors), codes.mutable_data_ptr<std::int8_t>()});
  }
  check_launches();
  return codes;
}

}  // namespace caddie::ops::cuda
