// An optimizer owns one group of parameters of a manifest's `optimizers` list, and their state.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "caddie/communicator.h"
#include "caddie/component.h"
#include "caddie/services.h"
#include "caddie/state.h"

namespace caddie {

struct OptimizedParameter {
  std::string name;
  at::Tensor value;     // float32; updated in place
  at::Tensor gradient;  // float32, same shape; complete (already reduced over ranks) when step() is called
};

struct OptimizerContext {
  Services* services;
  Communicator* communicator;
  std::vector<OptimizedParameter> parameters;  // in the model's order
};

struct StepContext {
  std::int64_t step;    // from 0
  double rate_factor;   // the schedule's factor; the rate of this step is learning_rate x rate_factor
  double progress = 0;  // share of the training budget that was used when the step began, 0 to 1
};

// A value that goes linearly from `first` at step 0 to `last` at step `over`, and stays there (Muon's momentum).
CADDIE_API double linear_ramp(double first, double last, std::int64_t over, std::int64_t step);
// A factor that is 1 up to the share `from` of the budget, and goes linearly to `last` at its end (a taper of the decay).
CADDIE_API double linear_taper(double last, double from, double progress);

class CADDIE_API Optimizer {
 public:
  virtual ~Optimizer();
  // One update of every parameter of the group. Gradients are left as they are.
  virtual void step(const StepContext& context) = 0;
  // State that must survive a checkpoint, and the warm-up steps, bit for bit. With several ranks all of them save and load
  // at once, and write the same: a state that is dealt over the ranks is gathered first.
  virtual void save(StateWriter& writer) const = 0;
  virtual void load(const StateReader& reader) = 0;
  // Bytes of state for that many parameter elements, for predictions.
  virtual std::int64_t state_bytes() const = 0;
};

template <class T>
constexpr Component optimizer_component(const char* name, const char* summary, std::uint32_t behaviour_version,
                                        std::span<const OptionSpec> options) {
  return make_component<Optimizer, T, OptimizerContext>(PluginKind::optimizer, name, summary, behaviour_version,
                                                        options.data(), options.size());
}

}  // namespace caddie
