#include "sgd.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/zeros_like.h>

#include "caddie/error.h"

namespace caddie {

MomentumDescent::MomentumDescent(const Options& options, const OptimizerContext& context)
    : learning_rate_(options.number("learning_rate")),
      momentum_(options.number("momentum")),
      weight_decay_(options.number("weight_decay")),
      weight_decay_last_(options.number("weight_decay_last")),
      weight_decay_taper_from_(options.number("weight_decay_taper_from")),
      nesterov_(options.boolean("nesterov")),
      parameters_(context.parameters) {
  for (const auto& parameter : parameters_) velocity_.push_back(at::zeros_like(parameter.gradient));
}

void MomentumDescent::step(const StepContext& context) {
  if (parameters_.empty()) return;
  const at::NoGradGuard guard;
  const double rate = learning_rate_ * context.rate_factor;
  const double decay = weight_decay_ * linear_taper(weight_decay_last_, weight_decay_taper_from_, context.progress);
  std::vector<at::Tensor> values, gradients;
  for (const auto& parameter : parameters_) {
    values.push_back(parameter.value);
    gradients.push_back(parameter.gradient);
  }
  at::_foreach_mul_(velocity_, momentum_);
  at::_foreach_add_(velocity_, gradients);
  at::_foreach_mul_(values, 1 - rate * decay);
  if (nesterov_) {
    at::_foreach_add_(values, gradients, -rate);
    at::_foreach_add_(values, velocity_, -rate * momentum_);
  } else {
    at::_foreach_add_(values, velocity_, -rate);
  }
}

void MomentumDescent::save(StateWriter& writer) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) writer.tensor("velocity/" + parameters_[i].name, velocity_[i]);
}

void MomentumDescent::load(const StateReader& reader) {
  const at::NoGradGuard guard;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string name = "velocity/" + parameters_[i].name;
    const at::Tensor saved = reader.tensor(name);
    CADDIE_CHECK(saved.sizes() == velocity_[i].sizes(), ErrorKind::data, "the saved ", name, " has another shape");
    velocity_[i].copy_(saved);
  }
}

std::int64_t MomentumDescent::state_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& velocity : velocity_) bytes += static_cast<std::int64_t>(velocity.nbytes());
  return bytes;
}

}  // namespace caddie
