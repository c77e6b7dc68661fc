// Autograd of the MLP half of a block (simd/mlp.h).
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/glue.h"

namespace caddie::ops::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void describe(Mlp& m, const at::Tensor& x, const at::Tensor& up, const at::Tensor& down, const at::Tensor& scale, double slope) {
  m.width = x.size(-1);
  m.rows = x.numel() / m.width;
  m.hidden = up.size(0);
  m.slope = static_cast<float>(slope);
  m.x = bytes(x);
  m.up = bytes(up);
  m.down = bytes(down);
  m.scale = floats(scale);
}

struct Result {
  at::Tensor out, before, norm;
};

Result run_forward(const at::Tensor& x, const at::Tensor& up, const at::Tensor& down, const at::Tensor& scale, double slope,
                   bool keep) {
  MlpForward m{};
  describe(m, x, up, down, scale, slope);
  Result result;
  result.out = pooled(x.sizes(), x.scalar_type());
  if (keep) {
    result.before = pooled({m.rows, m.hidden}, x.scalar_type());
    result.norm = pooled({m.rows}, at::kFloat);
    m.before = bytes_of(result.before);
    m.norm = floats_of(result.norm);
  }
  m.out = bytes_of(result.out);
  kernels().mlp_forward(common_for(x.scalar_type()), m);
  return result;
}

class MlpHalfFunction : public torch::autograd::Function<MlpHalfFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& up, const at::Tensor& up_copy,
                            const at::Tensor& down, const at::Tensor& down_copy, const at::Tensor& scale, double slope) {
    const auto result = run_forward(x, up_copy, down_copy, scale, slope, /*keep=*/true);
    context->save_for_backward({x, up_copy, down_copy, scale, result.before, result.norm});
    context->saved_data["slope"] = slope;
    (void)up;
    (void)down;
    return result.out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &scale = saved[3];
    const auto gradient = gradients[0].contiguous();
    MlpBackward m{};
    describe(m, x, saved[1], saved[2], scale, context->saved_data["slope"].toDouble());
    m.before = bytes(saved[4]);
    m.norm = floats(saved[5]);
    m.gradient = bytes(gradient);
    const auto of_x = pooled(x.sizes(), x.scalar_type());
    const auto of_up = at::empty_like(saved[1], at::kFloat), of_down = at::empty_like(saved[2], at::kFloat);
    const auto of_scale = at::empty_like(scale);
    m.x_gradient = bytes_of(of_x);
    m.up_gradient = floats_of(of_up);
    m.down_gradient = floats_of(of_down);
    m.scale_gradient = floats_of(of_scale);
    kernels().mlp_backward(common_for(x.scalar_type()), m);
    return {of_x, of_up, at::Tensor(), of_down, at::Tensor(), of_scale, at::Tensor()};
  }
};

}  // namespace

at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights) {
  const auto rows = x.contiguous();
  const auto up = compute_copy(weights.up_compute, x), down = compute_copy(weights.down_compute, x);
  check_matrix(weights.up, up, up.size(0), x.size(-1), "mlp_half");
  check_matrix(weights.down, down, x.size(-1), up.size(0), "mlp_half");
  const auto scale = weights.scale.contiguous();
  if (!at::GradMode::is_enabled()) return run_forward(rows, up, down, scale, weights.slope, /*keep=*/false).out;
  return MlpHalfFunction::apply(rows, weights.up, up, weights.down, down, scale, weights.slope);
}

}  // namespace caddie::ops::cpu
