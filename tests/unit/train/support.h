// What the tests of training share: batches from a formula, plain gradient descent and the real plugins as optimizers.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "core/comm/solo.h"
#include "core/host/catalogue.h"
#include "core/train/train.h"
#include "tests/support/trainable_model.h"

namespace caddie::testing {

// Rows of 6 tokens of 13 by a rule; rank r of n takes every n-th micro batch, so the data does not depend on n.
class FormulaSource final : public BatchSource {
 public:
  explicit FormulaSource(std::int64_t rank = 0, std::int64_t ranks = 1) : rank_(rank), ranks_(ranks) {}
  Batch next() override {
    const std::int64_t index = taken_++ * ranks_ + rank_;
    Batch batch{at::empty({2, 6}, at::kLong), at::empty({2, 6}, at::kLong)};
    auto* inputs = batch.inputs.mutable_data_ptr<std::int64_t>();
    auto* targets = batch.targets.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < 12; ++i) {
      inputs[i] = (index * 5 + i * 3) % 13;
      targets[i] = (inputs[i] * 2 + 1) % 13;
    }
    return batch;
  }
  void save(StateWriter& writer) const override { writer.number("taken", static_cast<double>(taken_)); }
  void load(const StateReader& reader) override { taken_ = static_cast<std::int64_t>(reader.number("taken")); }
  std::int64_t taken() const { return taken_; }

 private:
  std::int64_t rank_, ranks_, taken_ = 0;
};

// p = p - rate g, without state: so that a test can say what must come out.
class Descent final : public Optimizer {
 public:
  Descent(double rate, const OptimizerContext& context) : rate_(rate), parameters_(context.parameters) {}
  void step(const StepContext& context) override {
    const at::NoGradGuard guard;
    for (auto& parameter : parameters_) parameter.value.sub_(parameter.gradient, rate_ * context.rate_factor);
  }
  void save(StateWriter&) const override {}
  void load(const StateReader&) override {}
  std::int64_t state_bytes() const override { return 0; }

 private:
  double rate_;
  std::vector<OptimizedParameter> parameters_;
};

inline train::OptimizerFactory descent(double rate) {
  return [rate](std::size_t, const OptimizerContext& context) { return std::make_shared<Descent>(rate, context); };
}

// Entry 0 is Muon in float32, the others AdamW.
inline train::OptimizerFactory plugins(const Catalogue& catalogue) {
  return [&catalogue](std::size_t entry, const OptimizerContext& context) {
    const Json section = entry == 0 ? Json{{"use", "muon"}, {"newton_schulz_precision", "float32"}, {"momentum_warmup_steps", 10}}
                                    : Json{{"use", "adamw"}};
    return catalogue.create_optimizer(section, context);
  };
}

inline train::TrainSettings tiny_settings(std::int64_t steps) {
  train::TrainSettings settings;
  settings.sequence = 6;
  settings.tokens_per_step = 24;
  settings.micro_batches = 2;
  settings.stop_steps = steps;
  settings.checkpoint_seconds = 0;
  settings.average = {0.9, 2, 0.8, 0.5};
  settings.fake_quant = {{"core", 5}};
  settings.optimizers = {"matrix", "embedding", "vector"};
  return settings;
}

struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder() {
    static int count = 0;
    path = std::filesystem::temp_directory_path() / ("caddie_train_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

inline bool same(const NamedTensors& a, const NamedTensors& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].first != b[i].first || !a[i].second.equal(b[i].second)) return false;
  return true;
}

}  // namespace caddie::testing
