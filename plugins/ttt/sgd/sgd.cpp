#include "sgd.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "caddie/error.h"

namespace caddie_sgd {
namespace {

using caddie::OptionType;

constexpr caddie::OptionSpec kSpecs[] = {
    {"learning_rate", OptionType::number, "0.003", "0", nullptr, nullptr, "rate of the first chunk"},
    {"epochs", OptionType::integer, "20", "1", nullptr, nullptr, "passes over a chunk's sequences"},
    {"batch", OptionType::integer, "32", "1", nullptr, nullptr, "sequences a step, on each rank"},
    {"momentum", OptionType::number, "0.9", "0", "1", nullptr, "kept from chunk to chunk"},
    {"clip", OptionType::number, "1.0", "0", nullptr, nullptr, "largest norm of all gradients together; 0: off"},
    {"schedule", OptionType::text, "\"cosine\"", nullptr, nullptr, "cosine|constant",
     "the rate over the chunks; cosine falls to 0 at the last one"},
};

// g *= min(1, clip / (norm + 1e-6)), the norm over all parameters; no wait for a GPU.
void clip_gradients(std::vector<at::Tensor>& gradients, double clip) {
  const at::Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
  const at::Tensor factor = norm.add(1e-6).reciprocal().mul(clip).clamp_max(1.0);
  at::_foreach_mul_(gradients, factor);
}

}  // namespace

const std::span<const caddie::OptionSpec> kOptions = kSpecs;

Sgd::Sgd(const caddie::Options& options, const caddie::TttContext& context)
    : services_(context.services),
      learning_rate_(options.number("learning_rate")),
      momentum_(options.number("momentum")),
      clip_(options.number("clip")),
      epochs_(options.integer("epochs")),
      batch_(options.integer("batch")),
      cosine_(options.text("schedule") == "cosine") {}

double Sgd::rate(std::int64_t chunk, std::int64_t count) const {
  if (!cosine_ || count < 2) return learning_rate_;
  const double passed = static_cast<double>(chunk) / static_cast<double>(count - 1);
  return learning_rate_ * 0.5 * (1.0 + std::cos(std::numbers::pi * passed));
}

void Sgd::adapt(const caddie::ScoredChunk& chunk, caddie::Learner& learner) {
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

void Sgd::update(std::span<const caddie::Parameter> parameters, std::vector<at::Tensor>& gradients, double rate) {
  if (velocity_.empty()) {
    for (const auto& parameter : parameters) velocity_.push_back(at::zeros_like(parameter.tensor).detach());
  }
  CADDIE_ASSERT(velocity_.size() == parameters.size() && gradients.size() == parameters.size());
  std::vector<at::Tensor> values;
  values.reserve(parameters.size());
  for (const auto& parameter : parameters) values.push_back(parameter.tensor);
  if (clip_ > 0) clip_gradients(gradients, clip_);
  at::_foreach_mul_(velocity_, momentum_);
  at::_foreach_add_(velocity_, gradients);
  at::_foreach_add_(values, velocity_, -rate);
}

}  // namespace caddie_sgd
