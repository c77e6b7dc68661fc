// Autograd of the output map with its loss (simd/head.h). Nats of rows compute their gradient in backward, by a second
// pass that knows each row's weight; the mean knows it in advance and needs one pass.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/glue.h"

namespace caddie::ops::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Head describe(const at::Tensor& x, const at::Tensor& copy, const at::Tensor& targets, double cap, bool normed) {
  Head h{};
  h.rows = x.size(0);
  h.width = x.size(1);
  h.vocabulary = copy.size(0);
  h.cap = static_cast<float>(cap);
  h.normed = normed;
  h.x = bytes(x);
  h.embedding = bytes(copy);
  h.targets = targets.const_data_ptr<std::int64_t>();
  return h;
}

struct Gradients {
  at::Tensor x, embedding;
};
Gradients with_gradients(Head& h, const at::Tensor& x, const at::Tensor& copy) {
  Gradients gradients{pooled(x.sizes(), x.scalar_type()), at::empty_like(copy, at::kFloat)};
  h.x_gradient = bytes_of(gradients.x);
  h.embedding_gradient = floats_of(gradients.embedding);
  return gradients;
}

class NatsFunction : public torch::autograd::Function<NatsFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& copy,
                            const at::Tensor& targets, double cap, bool normed) {
    (void)embedding;
    auto h = describe(x, copy, targets, cap, normed);
    const auto nats = at::empty({h.rows}, at::kFloat);
    h.nats = floats_of(nats);
    kernels().head(common_for(x.scalar_type()), h);
    context->save_for_backward({x, copy, targets});
    context->saved_data["cap"] = cap;
    context->saved_data["normed"] = normed;
    return nats;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto s = context->get_saved_variables();
    auto h = describe(s[0], s[1], s[2], context->saved_data["cap"].toDouble(), context->saved_data["normed"].toBool());
    const auto weights = gradients[0].contiguous();
    h.row_gradient = floats(weights);
    const auto result = with_gradients(h, s[0], s[1]);
    kernels().head(common_for(s[0].scalar_type()), h);
    const at::Tensor none;
    return {result.x, result.embedding, none, none, none, none};
  }
};

class LossFunction : public torch::autograd::Function<LossFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& copy,
                            const at::Tensor& targets, double cap) {
    (void)embedding;
    auto h = describe(x, copy, targets, cap, /*normed=*/true);
    const auto nats = at::empty({h.rows}, at::kFloat);
    h.nats = floats_of(nats);
    h.gradient = 1.0F / static_cast<float>(h.rows);
    const auto result = with_gradients(h, x, copy);
    kernels().head(common_for(x.scalar_type()), h);
    context->save_for_backward({result.x, result.embedding});
    return nats.mean();
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto s = context->get_saved_variables();
    const at::Tensor none;
    const float factor = gradients[0].item<float>();
    if (factor == 1.0F) return {s[0], s[1], none, none, none};
    return {s[0].mul(factor), s[1].mul(factor), none, none, none};
  }
};

struct Checked {
  at::Tensor x, copy, targets;
};
Checked check(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets) {
  Checked checked{x.contiguous(), compute_copy(compute, x), targets.contiguous()};
  CADDIE_CHECK(x.dim() == 2 && targets.dim() == 1 && targets.size(0) == x.size(0) && targets.scalar_type() == at::kLong,
               ErrorKind::failed, "the head takes rows [N, D] and int64 targets [N], not ", x.sizes(), " and ", targets.sizes());
  check_matrix(embedding, checked.copy, checked.copy.size(0), x.size(1), "head");
  const auto* target = checked.targets.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    CADDIE_CHECK(target[i] >= 0 && target[i] < checked.copy.size(0), ErrorKind::data, "target ", target[i], " at row ", i,
                 " is not a piece of the vocabulary of ", checked.copy.size(0));
  }
  return checked;
}

}  // namespace

at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap, bool normed) {
  const auto in = check(x, embedding, compute, targets);
  return NatsFunction::apply(in.x, embedding, in.copy, in.targets, cap, normed);
}

at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap) {
  if (!at::GradMode::is_enabled()) return head_nats(x, embedding, compute, targets, cap, /*normed=*/true).mean();
  const auto in = check(x, embedding, compute, targets);
  return LossFunction::apply(in.x, embedding, in.copy, in.targets, cap);
}

}  // namespace caddie::ops::cpu
