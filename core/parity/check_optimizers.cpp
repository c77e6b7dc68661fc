// Optimizer plugins on given gradients: muon, adamw, momentum.
#include <ATen/ops/zeros_like.h>

#include "caddie/optimizer.h"
#include "core/comm/solo.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"
#include "core/train/state.h"

namespace caddie::parity {
namespace {

// Parameters p0, p1, ... and, for each, the gradients of all steps.
struct Given {
  std::vector<OptimizedParameter> parameters;
  std::vector<at::Tensor> gradients;  // [steps, ...]
  void set_step(std::size_t step) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].gradient.copy_(gradients[i].select(0, static_cast<std::int64_t>(step)));
  }
};

void add(Given& given, std::string name, const at::Tensor& value, at::Tensor gradients) {
  given.parameters.push_back({std::move(name), value.clone(), at::zeros_like(value)});
  given.gradients.push_back(std::move(gradients));
}

}  // namespace

void check_muon(CheckRun& run) {
  const auto factors = run.setting<std::vector<double>>("rate_factors"),
             momenta = run.setting<std::vector<double>>("momenta");
  CADDIE_CHECK(momenta.size() == factors.size(), ErrorKind::data, "muon needs as many momenta as rate factors");
  for (const std::string precision : {"float32", "bfloat16"}) {
    Given given;
    const auto values = run.inputs("p"), gradients = run.inputs("gradients_");
    for (std::size_t i = 0; i < values.size(); ++i) add(given, "p" + std::to_string(i), values[i], gradients.at(i));
    train::StateDictionary state(train::StateDictionary::Keep::copies);
    SoloCommunicator solo;
    for (std::size_t k = 0; k < factors.size(); ++k) {
      // Momenta come as a list, so each step has an optimizer of its own that goes on from the state of the one before.
      Json section = {{"use", "muon"},
                      {"learning_rate", run.setting<double>("rate")},
                      {"momentum", momenta[k]},
                      {"momentum_start", momenta[k]},
                      {"momentum_warmup_steps", 0},
                      {"newton_schulz_steps", run.settings().value("newton_schulz_steps", std::int64_t{5})},
                      {"newton_schulz_precision", precision},
                      {"nesterov", run.settings().value("nesterov", true)},
                      {"weight_decay", run.setting<double>("weight_decay")}};
      if (run.settings().contains("coefficients"))
        section["newton_schulz_coefficients"] = run.settings()["coefficients"];
      const auto muon = run.catalogue().create_optimizer(section, {&run.services(), &solo, given.parameters});
      if (k > 0) muon->load(state);
      given.set_step(k);
      muon->step({static_cast<std::int64_t>(k), factors[k]});
      state = train::StateDictionary(train::StateDictionary::Keep::copies);
      muon->save(state);
      for (const auto& parameter : given.parameters)
        run.give(concat(precision, "/step_", k + 1, "/", parameter.name), parameter.value);
    }
    for (const auto& parameter : given.parameters)
      run.give(concat(precision, "/buffer/", parameter.name), state.tensor("momentum/" + parameter.name));
  }
}

void check_adamw(CheckRun& run) {
  const auto factors = run.setting<std::vector<double>>("rate_factors");
  for (const std::string precision : {"float32", "bfloat16"}) {
    Given given;
    add(given, "p", run.input("p"), run.input("gradients"));
    SoloCommunicator solo;
    const Json section = {{"use", "adamw"},
                          {"learning_rate", run.setting<double>("rate")},
                          {"beta1", run.setting<double>("beta1")},
                          {"beta2", run.setting<double>("beta2")},
                          {"epsilon", run.setting<double>("epsilon")},
                          {"weight_decay", run.setting<double>("weight_decay")},
                          {"state_precision", precision}};
    const auto adamw = run.catalogue().create_optimizer(section, {&run.services(), &solo, given.parameters});
    for (std::size_t k = 0; k < factors.size(); ++k) {
      given.set_step(k);
      adamw->step({static_cast<std::int64_t>(k), factors[k]});
      run.give(concat(precision, "/step_", k + 1), given.parameters[0].value);
    }
  }
}

void check_momentum(CheckRun& run) {
  const auto steps = run.setting<std::vector<std::int64_t>>("steps");
  for (std::size_t i = 0; i < steps.size(); ++i)
    run.give(concat("momentum_", i), Json(linear_ramp(run.setting<double>("first"), run.setting<double>("last"),
                                                      run.setting<std::int64_t>("over"), steps[i])));
}

}  // namespace caddie::parity
