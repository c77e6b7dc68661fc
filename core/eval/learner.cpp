#include "core/eval/learner.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "core/base/interrupt.h"
#include "core/base/trace.h"

namespace caddie::eval {
namespace {

// One buffer for all gradients and the loss: one reduction instead of one a parameter.
double average_over_ranks(Communicator& communicator, double loss, std::vector<at::Tensor>& gradients) {
  std::vector<at::Tensor> parts;
  parts.reserve(gradients.size() + 1);
  for (const auto& gradient : gradients) parts.push_back(gradient.reshape({-1}));
  parts.push_back(at::full({1}, loss, parts.front().options()));
  at::Tensor flat = at::cat(parts);
  communicator.all_reduce_sum(flat);
  flat.div_(static_cast<double>(communicator.size()));
  std::int64_t offset = 0;
  for (auto& gradient : gradients) {
    gradient = flat.narrow(0, offset, gradient.numel()).view(gradient.sizes());
    offset += gradient.numel();
  }
  return flat.narrow(0, offset, 1).item<double>();
}

}  // namespace

ModelLearner::ModelLearner(Model& model, const std::vector<std::string>& freeze, Communicator* communicator,
                           std::int64_t pass_tokens)
    : model_(model), communicator_(communicator), pass_tokens_(pass_tokens) {
  const auto& parameters = model.parameters();
  for (const auto& match : freeze) select_parameters(parameters, match, "ttt.freeze");  // throws if there is none
  for (const auto& parameter : parameters) {
    const bool frozen = std::any_of(freeze.begin(), freeze.end(),
                                    [&](const std::string& match) { return matches(match, parameter); });
    if (!frozen) trained_.push_back(parameter);
  }
  all_ = trained_.size() == parameters.size();
  if (trained_.empty()) {
    throw Error(ErrorKind::usage, "ttt.freeze leaves no parameter to adapt",
                "Freeze less, or set ttt.use to none for the plain sliding score.");
  }
}

ModelLearner::~ModelLearner() {
  for (const auto& parameter : model_.parameters()) parameter.tensor.mutable_grad() = at::Tensor();
}

double ModelLearner::gradients(const at::Tensor& inputs, const at::Tensor& targets, std::vector<at::Tensor>& out) {
  CADDIE_ASSERT(inputs.dim() == 2 && inputs.size(0) > 0 && targets.sizes() == inputs.sizes());
  throw_if_interrupted();
  const trace::Span span("ttt", "gradients");
  ++calls_;
  out.clear();
  for (const auto& parameter : model_.parameters()) parameter.tensor.mutable_grad() = at::Tensor();
  model_.prepare(/*training=*/false);  // the strategy may have changed the parameters

  std::vector<at::Tensor> leaves;
  for (const auto& parameter : trained_) leaves.push_back(parameter.tensor);
  const std::int64_t rows = inputs.size(0);
  const std::int64_t pass =
      pass_tokens_ > 0 ? std::clamp<std::int64_t>(pass_tokens_ / inputs.size(1), 1, rows) : rows;
  double mean = 0;
  {
    const at::AutoGradMode with_gradients(true);
    for (std::int64_t first = 0; first < rows; first += pass) {
      const std::int64_t count = std::min(pass, rows - first);
      const double share = static_cast<double>(count) / static_cast<double>(rows);
      const at::Tensor loss = model_.loss(inputs.narrow(0, first, count), targets.narrow(0, first, count));
      const at::Tensor part = count == rows ? loss : loss.mul(share);
      if (all_) {
        part.backward();
      } else {
        part.backward({}, std::nullopt, false, leaves);  // nothing is computed for frozen leaves alone
      }
      mean += part.detach().item<double>();
    }
  }

  const at::NoGradGuard no_gradients;
  for (const auto& leaf : leaves) out.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  if (communicator_ != nullptr && communicator_->size() > 1) mean = average_over_ranks(*communicator_, mean, out);
  if (!std::isfinite(mean)) {
    throw Error(ErrorKind::failed, concat("the loss became ", mean, " during test-time training"),
                "Lower ttt.learning_rate, or clip more.");
  }
  return mean;
}

}  // namespace caddie::eval
