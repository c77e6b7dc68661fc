// Autograd of the MLP half of a block on a CUDA device. The norm is a factor of the first product's rows, the activation and its
// derivative are applied to products in registers where the device has such kernels, else in place; the second product has the
// scales in its weights and adds to a copy of the stream inside the matrix product.
// Kept for backward, elements a position: x, the activated channels and one bit each.
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Kept {
  at::Tensor norm, activated, signs, scaled_down;
  at::Tensor turned_down;  // scaled_down transposed, where a product is finished in registers
};

// x [rows, D]
at::Tensor run_forward(const at::Tensor& x, const at::Tensor& up, const at::Tensor& down, const at::Tensor& scale, double slope,
                       Kept& kept, bool for_backward) {
  const auto launch = launch_for(x.scalar_type());
  const auto rows = x.size(0), width = x.size(1), hidden = up.size(0);
  at::Tensor out = new_like({rows, width}, x);
  kept.norm = new_floats({rows}, x);
  row_norm(launch, {rows, width, bytes(x), bytes_of(out), nullptr, floats_of(kept.norm)});
  const bool in_registers = product_fits(launch, width, hidden);
  const auto bytes_for_signs = in_registers ? product_signs_bytes(rows, hidden) : rows * ((hidden + 7) / 8);
  if (for_backward) kept.signs = at::empty({bytes_for_signs}, x.options().dtype(at::kByte).requires_grad(false));
  auto* signs = for_backward ? kept.signs.mutable_data_ptr<std::uint8_t>() : nullptr;
  const auto factor = static_cast<float>(slope);
  if (in_registers) {
    kept.activated = new_like({rows, hidden}, x);
    product_activate(launch, {rows, width, hidden, bytes(x), bytes(up)}, floats(kept.norm), factor, bytes_of(kept.activated), signs);
    if (for_backward) kept.turned_down = new_like({hidden, width}, down);
  } else {
    kept.activated = at::mm(x, up.t());
    activate(launch, {rows, hidden, bytes(kept.activated), floats(kept.norm), factor, bytes_of(kept.activated), signs});
  }
  kept.scaled_down = at::empty_like(down);
  scale_rows(launch, {width, hidden, bytes(down), floats(scale), bytes_of(kept.scaled_down), bytes_of(kept.turned_down)});
  out.addmm_(kept.activated, kept.scaled_down.t());
  check_launches();
  return out;
}

class MlpHalfFunction : public torch::autograd::Function<MlpHalfFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& up, const at::Tensor& up_copy,
                            const at::Tensor& down, const at::Tensor& down_copy, const at::Tensor& scale, double slope) {
    (void)up, (void)down;
    Kept kept;
    const auto out = run_forward(x, up_copy, down_copy, scale, slope, kept, /*for_backward=*/true);
    context->save_for_backward({x, up_copy, down_copy, scale, kept.norm, kept.activated, kept.signs,
                                kept.turned_down.defined() ? kept.turned_down : kept.scaled_down});
    context->saved_data["in_registers"] = kept.turned_down.defined();
    context->saved_data["slope"] = slope;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto s = context->get_saved_variables();
    const auto &x = s[0], &up = s[1], &down = s[2], &scale = s[3], &norm = s[4], &activated = s[5], &signs = s[6];
    const auto launch = launch_for(x.scalar_type());
    const auto rows = x.size(0), width = x.size(1), hidden = up.size(0);
    const auto gradient = gradients[0].contiguous();
    const auto slope = static_cast<float>(context->saved_data["slope"].toDouble());
    at::Tensor of_hidden;
    if (context->saved_data["in_registers"].toBool()) {
      of_hidden = new_like({rows, hidden}, x);
      product_activate_backward(launch, {rows, width, hidden, bytes(gradient), bytes(s[7])}, floats(norm), slope, bytes(activated),
                                signs.const_data_ptr<std::uint8_t>(), bytes_of(of_hidden));
    } else {
      of_hidden = at::mm(gradient, s[7]);
      activate_backward(launch, {rows, hidden, bytes(activated), floats(norm), signs.const_data_ptr<std::uint8_t>(), slope,
                                 bytes_of(of_hidden)});
    }
    const auto of_down = weight_product(gradient, activated);
    const auto of_scale = at::empty_like(scale);
    scaled_weight_backward(launch, {width, hidden, bytes(down), floats(scale), floats_of(of_down), floats_of(of_scale)});
    const auto of_up = weight_product(of_hidden, x);
    const auto of_normed = at::mm(of_hidden, up);
    of_hidden.reset();
    const auto of_x = at::empty_like(x);
    norm_backward(launch, {rows, width, bytes(gradient), bytes(of_normed), bytes(x), floats(norm), nullptr, bytes_of(of_x)});
    check_launches();
    return {of_x, of_up, at::Tensor(), of_down, at::Tensor(), of_scale, at::Tensor()};
  }
};

}  // namespace

at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights) {
  const auto rows = x.contiguous().view({-1, x.size(-1)});
  const auto up = compute_copy(weights.up_compute, x), down = compute_copy(weights.down_compute, x);
  check_matrix(up, up.size(0), x.size(-1), "mlp_half");
  check_matrix(down, x.size(-1), up.size(0), "mlp_half");
  const auto scale = weights.scale.contiguous();
  if (!at::GradMode::is_enabled()) {
    Kept kept;
    return run_forward(rows, up, down, scale, weights.slope, kept, /*for_backward=*/false).view(x.sizes());
  }
  return MlpHalfFunction::apply(rows, weights.up, up, weights.down, down, scale, weights.slope).view(x.sizes());
}

}  // namespace caddie::ops::cuda
