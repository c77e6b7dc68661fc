// Oracles of the ops with a weight that has a compute copy: linear map and loss. The straight-through gradient needs an
// autograd node of its own: weight + (compute - weight) would round.
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/reference/reference.h"

namespace caddie::ops::reference {
namespace {

class StraightThroughLinear : public torch::autograd::Function<StraightThroughLinear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& compute) {
    context->save_for_backward({x, compute});
    context->saved_data["weight_type"] = weight.scalar_type();
    return at::linear(x, compute);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &compute = saved[1], &gradient = gradients[0];
    at::Tensor of_x, of_weight;
    if (context->needs_input_grad(0)) of_x = at::matmul(gradient, compute);
    if (context->needs_input_grad(1)) {
      const auto rows = gradient.reshape({-1, gradient.size(-1)});
      of_weight = at::matmul(rows.t(), x.reshape({-1, x.size(-1)})).to(context->saved_data["weight_type"].toScalarType());
    }
    return {of_x, of_weight, at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& compute) {
  return StraightThroughLinear::apply(x, weight, compute.detach());
}

at::Tensor linear_stacked(const at::Tensor& x, at::TensorList weights, const at::Tensor& compute) {
  return linear(x, at::cat(weights, 0), compute);
}

at::Tensor softcap_cross_entropy(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                 const at::Tensor& targets, double cap) {
  const auto capped = linear(x, embedding, compute).to(at::kFloat).div(cap).tanh().mul(cap);
  return at::log_softmax(capped, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1).neg();
}

}  // namespace caddie::ops::reference
