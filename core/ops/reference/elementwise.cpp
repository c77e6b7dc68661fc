// Oracles of the ops that work position by position: norm, residual mix, scaled add, activation. They compute in float32
// and round once at the end to the type of their input (reference section 2).
#include "caddie/ops.h"
#include "core/ops/reference/reference.h"

namespace caddie::ops::reference {

at::Tensor rms_norm(const at::Tensor& x) {
  const auto wide = x.to(at::kFloat);
  const auto mean_square = wide.square().mean(-1, /*keepdim=*/true);
  return wide.div(mean_square.add(kNormEpsilon).sqrt()).to(x.scalar_type());
}

at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix) {
  return x.to(at::kFloat).mul(mix.select(0, 0)).add(x0.to(at::kFloat).mul(mix.select(0, 1))).to(x.scalar_type());
}

at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  return x.to(at::kFloat).add(y.to(at::kFloat).mul(scale)).to(x.scalar_type());
}

at::Tensor squared_leaky_relu(const at::Tensor& x, double slope) {
  const auto wide = x.to(at::kFloat);
  return wide.clamp_min(0).add(wide.clamp_max(0).mul(slope)).square().to(x.scalar_type());
}

}  // namespace caddie::ops::reference
