#include "lora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string_view>

#include "caddie/error.h"
#include "caddie/match.h"

namespace lora {
namespace {

using caddie::OptionType;

constexpr caddie::OptionSpec kSpecs[] = {
    {"adapt", OptionType::text, "\"matrix, embedding\"", nullptr, nullptr, nullptr,
     "matrices that get adapters: roles, groups or name patterns with commas between them"},
    {"rank", OptionType::integer, "8", "1", "1024", nullptr, "of an adapter"},
    {"alpha", OptionType::number, "null", "0", nullptr, nullptr, "adapters count alpha / rank times; null: once"},
    {"learning_rate", OptionType::number, "0.001", "0", nullptr, nullptr, "of Adam, on the adapters"},
    {"epochs", OptionType::integer, "1", "1", nullptr, nullptr, "passes over a chunk's sequences"},
    {"batch", OptionType::integer, "32", "1", nullptr, nullptr, "sequences a step, on each rank"},
    {"beta1", OptionType::number, "0", "0", "0.9999", nullptr, "decay of the mean gradient"},
    {"beta2", OptionType::number, "0.999", "0", "0.999999", nullptr, "decay of the mean squared gradient"},
    {"weight_decay", OptionType::number, "0", "0", "100", nullptr, "of the adapters: they shrink towards the weight"},
    {"clip", OptionType::number, "1.0", "0", nullptr, nullptr, "largest norm of the adapters' gradients; 0: off"},
    {"reset", OptionType::text, "\"never\"", nullptr, nullptr, "never|document",
     "document: adapters start again where a document ends (set ttt.documents, so that chunks end there too)"},
    {"schedule", OptionType::text, "\"constant\"", nullptr, nullptr, "cosine|constant",
     "the rate over the chunks; cosine falls to 0 at the last one"},
};

constexpr double kEpsilon = 1e-8;

bool matches_any(std::string_view list, const caddie::Parameter& parameter) {
  while (!list.empty()) {
    auto one = list.substr(0, list.find(','));
    list.remove_prefix(std::min(one.size() + 1, list.size()));
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (!one.empty() && caddie::matches(one, parameter)) return true;
  }
  return false;
}

// Rows of length about 1: N(0, 1 / columns), a stream of its own for each parameter.
at::Tensor initial_down(const std::string& name, std::int64_t rank, const at::Tensor& weight) {
  const auto columns = weight.size(1);
  caddie::Random random(1, "low-rank adapter of " + name);
  auto values = at::empty({rank, columns}, at::kFloat);
  const double deviation = 1 / std::sqrt(static_cast<double>(columns));
  for (std::int64_t i = 0; i < values.numel(); ++i)
    values.mutable_data_ptr<float>()[i] = static_cast<float>(random.normal() * deviation);
  return values.to(weight.device());
}

}  // namespace

const std::span<const caddie::OptionSpec> kOptions = kSpecs;

Lora::Lora(const caddie::Options& options, const caddie::TttContext& context)
    : services_(context.services),
      match_(options.text("adapt")),
      rank_(options.integer("rank")),
      epochs_(options.integer("epochs")),
      batch_(options.integer("batch")),
      scale_(options.is_null("alpha") ? 1 : options.number("alpha") / static_cast<double>(rank_)),
      learning_rate_(options.number("learning_rate")),
      beta1_(options.number("beta1")),
      beta2_(options.number("beta2")),
      weight_decay_(options.number("weight_decay")),
      clip_(options.number("clip")),
      cosine_(options.text("schedule") == "cosine"),
      resets_(options.text("reset") == "document") {}

double Lora::rate(std::int64_t chunk, std::int64_t count) const {
  if (!cosine_ || count < 2) return learning_rate_;
  const double passed = static_cast<double>(chunk) / static_cast<double>(count - 1);
  return learning_rate_ * 0.5 * (1.0 + std::cos(std::numbers::pi * passed));
}

void Lora::prepare(caddie::Learner& learner) {
  if (!adapters_.empty()) return;
  const auto parameters = learner.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& parameter = parameters[i];
    if (parameter.tensor.dim() != 2 || parameter.role == caddie::Role::vector || !matches_any(match_, parameter)) continue;
    Adapter adapter{i, parameter.tensor.detach().clone(), initial_down(parameter.name, rank_, parameter.tensor), {}, {}};
    adapter.up = at::zeros({parameter.tensor.size(0), rank_}, adapter.base.options());
    for (int k = 0; k < 4; ++k) adapter.moments[k] = at::zeros_like(k < 2 ? adapter.down : adapter.up);
    adapters_.push_back(std::move(adapter));
  }
  CADDIE_CHECK(!adapters_.empty(), caddie::ErrorKind::usage, "'adapt' is '", match_,
               "', which matches no matrix that may be adapted (accepted: roles, groups of the model, name patterns)");
}

void Lora::adapt(const caddie::ScoredChunk& chunk, caddie::Learner& learner) {
  if (resets_ && chunk.ends_document) return;  // what would be learned is of no use to another document
  const at::NoGradGuard no_gradients;
  prepare(learner);
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
      update(learner, gradients, chunk_rate);
    }
  }
}

// A is kept: with B at 0 it is a random projection as good as any, and a warm one is a little better.
void Lora::end_document(caddie::Learner& learner) {
  if (!resets_ || steps_ == 0) return;
  const at::NoGradGuard no_gradients;
  steps_ = 0;
  for (auto& adapter : adapters_) {
    adapter.up.zero_();
    for (auto& moment : adapter.moments) moment.zero_();
    at::Tensor value = learner.parameters()[adapter.parameter].tensor;
    value.copy_(adapter.base);
  }
}

void Lora::update(caddie::Learner& learner, std::vector<at::Tensor>& gradients, double rate) {
  // With W = base + s B A and G = dL/dW: dL/dA = s B^T G, dL/dB = s G A^T.
  std::vector<at::Tensor> own;
  for (const auto& adapter : adapters_) {
    const auto& gradient = gradients[adapter.parameter];
    own.push_back(adapter.up.t().mm(gradient).mul_(scale_));
    own.push_back(gradient.mm(adapter.down.t()).mul_(scale_));
  }
  if (clip_ > 0) {
    const at::Tensor norm = at::stack(at::_foreach_norm(own)).norm();
    at::_foreach_mul_(own, norm.add(1e-6).reciprocal().mul(clip_).clamp_max(1.0));
  }
  ++steps_;
  for (std::size_t i = 0; i < adapters_.size(); ++i) {
    auto& adapter = adapters_[i];
    step(adapter.down, own[2 * i], adapter.moments[0], adapter.moments[1], rate);
    step(adapter.up, own[2 * i + 1], adapter.moments[2], adapter.moments[3], rate);
    at::Tensor value = learner.parameters()[adapter.parameter].tensor;
    value.copy_(at::addmm(adapter.base, adapter.up, adapter.down, 1, scale_));
  }
}

void Lora::step(at::Tensor& value, const at::Tensor& gradient, at::Tensor& first, at::Tensor& second,
                double rate) const {
  const auto n = static_cast<double>(steps_);
  first.lerp_(gradient, 1 - beta1_);
  second.mul_(beta2_).addcmul_(gradient, gradient, 1 - beta2_);
  if (weight_decay_ > 0) value.mul_(1 - rate * weight_decay_);
  const double correction = std::sqrt(1 - std::pow(beta2_, n));
  value.addcdiv_(first, second.sqrt().div_(correction).add_(kEpsilon), -rate / (1 - std::pow(beta1_, n)));
}

}  // namespace lora
