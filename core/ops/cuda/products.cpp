// Matrix products with float32 results, and what the kernels take.
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {

at::Tensor weight_product(const at::Tensor& gradient, const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return at::mm(gradient.t(), x);
  if (x.is_cuda()) return at::mm(gradient.t(), x, at::kFloat);
  return at::mm(gradient.t().to(at::kFloat), x.to(at::kFloat));
}

void add_weight_product(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat)
    sum.addmm_(gradient.t(), x);
  else if (x.is_cuda())
    at::addmm_out(sum, sum, gradient.t(), x, at::kFloat);
  else
    sum.addmm_(gradient.t().to(at::kFloat), x.to(at::kFloat));
}

bool usable(const at::Tensor& x) { return usable_elements(x) && row_width_fits(x.size(-1)); }
bool heads_usable(std::int64_t heads, std::int64_t kv_heads, std::int64_t head) { return heads_fit(heads, kv_heads, head); }

}  // namespace caddie::ops::cuda
