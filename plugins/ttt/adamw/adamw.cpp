#include "adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "caddie/error.h"

namespace ttt_adamw {
namespace {

using caddie::OptionType;

constexpr caddie::OptionSpec kSpecs[] = {
    {"learning_rate", OptionType::number, "0.0005", "0", nullptr, nullptr, "rate of the first chunk"},
    {"rates", OptionType::text, "\"\"", nullptr, nullptr, nullptr,
     "factors of the rate, PATTERN=FACTOR with commas between: *.mlp.down.weight=3, *.mlp.up.weight=0.5"},
    {"epochs", OptionType::integer, "3", "1", nullptr, nullptr, "passes over a chunk's sequences"},
    {"batch", OptionType::integer, "32", "1", nullptr, nullptr, "sequences a step, on each rank"},
    {"beta1", OptionType::number, "0.9", "0", "0.9999", nullptr, "decay of the mean gradient"},
    {"beta2", OptionType::number, "0.999", "0", "0.999999", nullptr, "decay of the mean squared gradient"},
    {"epsilon", OptionType::number, "1e-8", "0", "1", nullptr, "added to the root of the mean square"},
    {"weight_decay", OptionType::number, "0", "0", "100", nullptr, "share of a value that a rate of 1 would take away"},
    {"clip", OptionType::number, "1.0", "0", nullptr, nullptr, "largest norm of all gradients together; 0: off"},
    {"schedule", OptionType::text, "\"cosine\"", nullptr, nullptr, "cosine|constant",
     "the rate over the chunks; cosine falls to 0 at the last one"},
};

}  // namespace

const std::span<const caddie::OptionSpec> kOptions = kSpecs;

AdamW::AdamW(const caddie::Options& options, const caddie::TttContext& context)
    : services_(context.services),
      learning_rate_(options.number("learning_rate")),
      beta1_(options.number("beta1")),
      beta2_(options.number("beta2")),
      epsilon_(options.number("epsilon")),
      weight_decay_(options.number("weight_decay")),
      clip_(options.number("clip")),
      epochs_(options.integer("epochs")),
      batch_(options.integer("batch")),
      cosine_(options.text("schedule") == "cosine"),
      rules_(parse_rates(options.text("rates"))) {}

double AdamW::rate(std::int64_t chunk, std::int64_t count) const {
  if (!cosine_ || count < 2) return learning_rate_;
  const double passed = static_cast<double>(chunk) / static_cast<double>(count - 1);
  return learning_rate_ * 0.5 * (1.0 + std::cos(std::numbers::pi * passed));
}

void AdamW::adapt(const caddie::ScoredChunk& chunk, caddie::Learner& learner) {
  const at::NoGradGuard no_gradients;
  const double chunk_rate = rate(chunk.index, chunk.count);
  const std::int64_t sequences = chunk.inputs.size(0);
  std::vector<at::Tensor> gradients;
  for (std::int64_t epoch = 0; epoch < epochs_; ++epoch) {
    for (std::int64_t first = 0; first < sequences; first += batch_) {
      if (services_ != nullptr && services_->cancelled()) {
        throw caddie::Error(caddie::ErrorKind::interrupted, "stopped during test-time training");
      }
      const std::int64_t rows = std::min(batch_, sequences - first);
      learner.gradients(chunk.inputs.narrow(0, first, rows), chunk.targets.narrow(0, first, rows), gradients);
      update(learner.parameters(), gradients, chunk_rate);
    }
  }
}

void AdamW::update(std::span<const caddie::Parameter> parameters, std::vector<at::Tensor>& gradients, double rate) {
  if (first_.empty()) {
    factors_ = rates_of(parameters, rules_);
    for (const auto& parameter : parameters) {
      first_.push_back(at::zeros_like(parameter.tensor).detach());
      second_.push_back(at::zeros_like(parameter.tensor).detach());
    }
  }
  CADDIE_ASSERT(first_.size() == parameters.size() && gradients.size() == parameters.size());
  if (clip_ > 0) {  // g *= min(1, clip / (norm + 1e-6)), the norm over all parameters; no wait for a GPU
    const at::Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
    at::_foreach_mul_(gradients, norm.add(1e-6).reciprocal().mul(clip_).clamp_max(1.0));
  }
  ++steps_;
  const auto n = static_cast<double>(steps_);
  const double correction1 = 1 - std::pow(beta1_, n), correction2 = std::sqrt(1 - std::pow(beta2_, n));
  at::_foreach_lerp_(first_, gradients, 1 - beta1_);
  at::_foreach_mul_(second_, beta2_);
  at::_foreach_addcmul_(second_, gradients, gradients, 1 - beta2_);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const double own = rate * factors_[i];
    if (own == 0) continue;
    at::Tensor value = parameters[i].tensor;
    if (weight_decay_ > 0) value.mul_(1 - own * weight_decay_);
    value.addcdiv_(first_[i], second_[i].sqrt().div_(correction2).add_(epsilon_), -own / correction1);
  }
}

}  // namespace ttt_adamw
