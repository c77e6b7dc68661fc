// Small models of the plugin unet_gpt for its tests.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

namespace unet_gpt_test {

using caddie::Json;

struct QuietServices final : caddie::Services {
  void log(caddie::LogLevel, std::string_view) override {}
  bool cancelled() const override { return false; }
  int threads() const override { return 1; }
};

struct Made {
  std::shared_ptr<caddie::Model> model;
  const std::vector<caddie::Parameter>& parameters() const { return model->parameters(); }
  at::Tensor parameter(const std::string& name) const {
    for (const auto& each : parameters()) {
      if (each.name == name) return each.tensor;
    }
    FAIL("no parameter " << name);
    return {};
  }
};

inline const Json kSmall = {{"layers", 4},   {"width", 48},      {"heads", 6},
                            {"kv_heads", 3}, {"mlp_ratio", 2.5}, {"xsa_last", 2}};

inline Made make(const Json& options, caddie::Precision precision = caddie::Precision::float32,
                 at::Device device = at::kCPU, std::int64_t vocabulary = 61) {
  static const caddie::Catalogue catalogue({CADDIE_PLUGIN_DIR});
  static QuietServices services;
  const auto& component = catalogue.require(caddie::PluginKind::model, "unet_gpt");
  Json section = {{"use", "unet_gpt"}};
  for (std::size_t i = 0; i < component.option_count; ++i) {
    section[component.options[i].key] = Json::parse(component.options[i].fallback);
  }
  section.update(options);
  return {catalogue.create_model(section, {&services, device, precision, vocabulary, 24})};
}

// Every parameter gets a value of its own, so that every term shows.
inline void randomize(const Made& made, std::uint64_t seed = 1) {
  const at::NoGradGuard no_grad;
  caddie::Random random(seed, "test");
  for (const auto& parameter : made.parameters()) {
    const double scale = parameter.role == caddie::Role::vector ? 0.3 : 0.2;
    auto values = at::empty(parameter.tensor.sizes(), at::kFloat);
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      values.mutable_data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
    }
    parameter.tensor.detach().copy_(parameter.role == caddie::Role::vector ? values.add(1) : values);
  }
}

inline at::Tensor tokens_of(std::int64_t batch, std::int64_t length, std::uint64_t seed = 7,
                            std::int64_t vocabulary = 61) {
  caddie::Random random(seed, "tokens");
  auto tokens = at::empty({batch, length}, at::kLong);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(vocabulary)));
  }
  return tokens;
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.detach().to(at::kDouble).sub(b.detach().to(at::kDouble)).abs().max().item<double>();
}

struct Recorder final : caddie::LinearObserver {
  std::vector<std::vector<std::string>> calls;
  std::vector<at::Tensor> inputs;
  void input(std::span<const std::string> weights, const at::Tensor& rows) override {
    calls.emplace_back(weights.begin(), weights.end());
    inputs.push_back(rows);
  }
};

}  // namespace unet_gpt_test
