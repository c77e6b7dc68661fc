#include "adamw.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/util/BFloat16.h>

#include <cmath>

#include "caddie/error.h"

namespace caddie {
namespace {

constexpr std::int64_t kGrain = 8192;  // elements a thread takes at least

struct Constants {
  float beta1, rest1, beta2, rest2;    // rest = 1 - beta
  float keep, step, root, epsilon;     // keep = 1 - rate decay; step = rate / correction1; root = sqrt(correction2)
};

template <class T>
inline float rounded(float value) {
  return static_cast<float>(static_cast<T>(value));
}

// T is the type in which parameters, gradients and moments rest.
template <class T>
void update(float* p, const float* g, T* first, T* second, std::int64_t count, const Constants& c) {
  at::parallel_for(0, count, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float gradient = rounded<T>(g[i]);
      const float m = c.beta1 * static_cast<float>(first[i]) + c.rest1 * gradient;
      const float v = c.beta2 * static_cast<float>(second[i]) + c.rest2 * gradient * gradient;
      first[i] = static_cast<T>(m);
      second[i] = static_cast<T>(v);
      const float decayed = rounded<T>(p[i]) * c.keep;
      p[i] = rounded<T>(decayed - c.step * m / (std::sqrt(v) / c.root + c.epsilon));
    }
  });
}

}  // namespace

AdamW::AdamW(const Options& options, const OptimizerContext& context)
    : learning_rate_(options.number("learning_rate")),
      beta1_(options.number("beta1")),
      beta2_(options.number("beta2")),
      epsilon_(options.number("epsilon")),
      weight_decay_(options.number("weight_decay")),
      weight_decay_last_(options.number("weight_decay_last")),
      weight_decay_taper_from_(options.number("weight_decay_taper_from")),
      bfloat16_(options.text("state_precision") == "bfloat16"),
      parameters_(context.parameters) {
  for (const auto& parameter : parameters_) {
    CADDIE_CHECK(parameter.value.is_contiguous() && parameter.gradient.is_contiguous(), ErrorKind::failed,
                 "adamw needs parameters and gradients in contiguous memory; ", parameter.name, " is not");
    const auto type = bfloat16_ ? at::kBFloat16 : at::kFloat;
    const auto state = parameter.value.options().dtype(type).requires_grad(false);
    first_.push_back(at::zeros(parameter.value.sizes(), state));
    second_.push_back(at::zeros(parameter.value.sizes(), state));
  }
}

void AdamW::step(const StepContext& context) {
  if (parameters_.empty()) return;
  const at::NoGradGuard guard;
  ++updates_;
  const double rate = learning_rate_ * context.rate_factor;
  const double decay = weight_decay_ * linear_taper(weight_decay_last_, weight_decay_taper_from_, context.progress);
  if (parameters_.front().value.is_cpu())
    step_on_cpu(rate, decay);
  else
    step_on_device(rate, decay);
}

void AdamW::step_on_cpu(double rate, double decay) {
  const auto t = static_cast<double>(updates_);
  const auto f = [](double value) { return static_cast<float>(value); };
  const Constants constants{f(beta1_), f(1 - beta1_), f(beta2_), f(1 - beta2_), f(1 - rate * decay),
                            f(rate / (1 - std::pow(beta1_, t))), f(std::sqrt(1 - std::pow(beta2_, t))), f(epsilon_)};
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    float* p = parameters_[i].value.mutable_data_ptr<float>();
    const float* g = parameters_[i].gradient.const_data_ptr<float>();
    const std::int64_t count = parameters_[i].value.numel();
    if (bfloat16_)
      update(p, g, first_[i].mutable_data_ptr<c10::BFloat16>(), second_[i].mutable_data_ptr<c10::BFloat16>(), count, constants);
    else
      update(p, g, first_[i].mutable_data_ptr<float>(), second_[i].mutable_data_ptr<float>(), count, constants);
  }
}

// LibTorch's fused step computes the same in one launch for all tensors.
void AdamW::step_on_device(double rate, double decay) {
  std::vector<at::Tensor> values, resting, gradients;
  for (const auto& parameter : parameters_) {
    values.push_back(parameter.value);
    resting.push_back(bfloat16_ ? parameter.value.to(at::kBFloat16) : parameter.value);
    gradients.push_back(bfloat16_ ? parameter.gradient.to(at::kBFloat16) : parameter.gradient);
  }
  const auto count = at::full({}, static_cast<double>(updates_), values.front().options().requires_grad(false));
  const std::vector<at::Tensor> counts(values.size(), count);
  at::_fused_adamw_(resting, gradients, first_, second_, {}, counts, rate, beta1_, beta2_, decay, epsilon_,
                    /*amsgrad=*/false, /*maximize=*/false);
  if (bfloat16_) at::_foreach_copy_(values, resting);
}

void AdamW::save(StateWriter& writer) const {
  writer.number("updates", static_cast<double>(updates_));
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    writer.tensor("first_moment/" + parameters_[i].name, first_[i]);
    writer.tensor("second_moment/" + parameters_[i].name, second_[i]);
  }
}

void AdamW::load(const StateReader& reader) {
  const at::NoGradGuard guard;
  const auto restore = [&reader](const std::string& name, at::Tensor& place) {
    const at::Tensor saved = reader.tensor(name);
    CADDIE_CHECK(saved.sizes() == place.sizes() && saved.scalar_type() == place.scalar_type(), ErrorKind::data, "the saved ",
                 name, " has another shape or type");
    place.copy_(saved);
  };
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    restore("first_moment/" + parameters_[i].name, first_[i]);
    restore("second_moment/" + parameters_[i].name, second_[i]);
  }
  updates_ = static_cast<std::int64_t>(reader.number("updates"));
}

std::int64_t AdamW::state_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& moment : first_) bytes += 2 * static_cast<std::int64_t>(moment.nbytes());
  return bytes;
}

}  // namespace caddie
