// Training step by step on given micro batches, and what goes with it: train, average, schedule, schedule_by_steps.
#include <ATen/core/grad_mode.h>

#include "core/comm/solo.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"
#include "core/train/averager.h"
#include "core/train/schedule.h"
#include "core/train/state.h"
#include "core/train/trainer.h"

namespace caddie::parity {
namespace {

std::vector<Batch> micro_batches(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t step) {
  std::vector<Batch> batches;
  for (std::int64_t micro = 0; micro < tokens.size(1); ++micro)
    batches.push_back({tokens.select(0, step).select(0, micro), targets.select(0, step).select(0, micro)});
  return batches;
}

void give_averages(CheckRun& run, train::Averager& averager) {
  run.give("ema/", averager.ema());
  run.give("swa/", averager.swa());
  run.give("final/", averager.final_weights());
  run.give("swa_count", Json(averager.swa_count()));
}

}  // namespace

void check_train(CheckRun& run) {
  const auto tokens = run.tokens("tokens"), targets = run.tokens("targets");  // [steps, micro, B, T]
  CADDIE_CHECK(tokens.dim() == 4 && targets.sizes() == tokens.sizes(), ErrorKind::data,
               "train needs tokens and targets [steps, micro, batch, sequence]");
  const TrainShape shape{tokens.size(3), tokens.size(1), tokens.size(1) * tokens.size(2) * tokens.size(3)};
  const Json manifest = training_manifest(run, run.settings(), shape);
  const auto settings = train::TrainSettings::from_json(manifest);
  const auto model = make_model(run, shape.sequence);
  SoloCommunicator solo;
  train::Trainer trainer(*model, settings, optimizer_factory(run, manifest), solo, run.services());
  const auto factors = run.setting<std::vector<double>>("rate_factors");
  for (std::size_t k = 0; k < factors.size(); ++k) {
    const double loss = trainer.step(micro_batches(tokens, targets, static_cast<std::int64_t>(k)), factors[k]);
    run.give(concat("loss/step_", k + 1), Json(loss));
    run.give(concat("parameters/step_", k + 1, "/"), trainer.weights());
  }
  train::StateDictionary state(train::StateDictionary::Keep::copies);
  trainer.optimizer(0)->save(state);
  for (const Parameter& parameter : model->parameters())
    if (parameter.role == Role::matrix)
      run.give("muon_buffer/" + parameter.name, state.tensor("momentum/" + parameter.name));
  give_averages(run, trainer.averager());
}

void check_average(CheckRun& run) {
  const at::NoGradGuard no_gradients;
  const auto factors = run.setting<std::vector<double>>("rate_factors");
  std::vector<Parameter> parameters;
  std::vector<at::Tensor> states;
  for (const auto& [argument, key] : run.spec().inputs) {
    if (!argument.starts_with("start/")) continue;
    const std::string name = argument.substr(6);
    parameters.push_back({name, run.input(argument).clone(), Role::vector, "all", -1});
    states.push_back(run.input("states/" + name));
  }
  train::Averaging settings;
  if (const Json ema = run.setting<Json>("ema"); !ema.is_null()) settings.ema = ema.get<double>();
  if (const Json every = run.setting<Json>("swa_every"); !every.is_null())
    settings.swa_every = every.get<std::int64_t>();
  settings.swa_below = run.setting<double>("swa_below");
  settings.blend = run.settings().value("blend", settings.blend);
  train::Averager averager(settings, parameters);
  for (std::size_t k = 0; k < factors.size(); ++k) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].tensor.copy_(states[i].select(0, static_cast<std::int64_t>(k)));
    averager.update(static_cast<std::int64_t>(k), factors[k]);
  }
  give_averages(run, averager);
}

void check_schedule(CheckRun& run) {
  train::Schedule schedule;
  schedule.warmdown = run.setting<double>("warmdown");
  schedule.minimum = run.settings().value("minimum", 0.0);
  const auto elapsed = run.setting<std::vector<double>>("elapsed_seconds");
  for (std::size_t i = 0; i < elapsed.size(); ++i)
    run.give(concat("factor_", i),
             Json(train::factor_by_seconds(schedule, elapsed[i], run.setting<double>("seconds"))));
}

void check_schedule_by_steps(CheckRun& run) {
  const auto total = run.setting<std::int64_t>("steps_total");
  train::Schedule schedule;
  schedule.warmdown = run.setting<double>("warmdown_steps") / static_cast<double>(total);
  const auto steps = run.setting<std::vector<std::int64_t>>("steps");
  for (std::size_t i = 0; i < steps.size(); ++i)
    run.give(concat("factor_", i), Json(train::factor_by_steps(schedule, steps[i], total)));
}

}  // namespace caddie::parity
