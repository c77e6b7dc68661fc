// Stochastic gradient descent with momentum (Sutskever et al., 2013, in the form of today's libraries): v = mu v + g;
// d = g + mu v with Nesterov, else v; p = p (1 - rate decay) - rate d. The decay is decoupled, as AdamW's.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "caddie/optimizer.h"

namespace caddie {

class MomentumDescent final : public Optimizer {
 public:
  MomentumDescent(const Options& options, const OptimizerContext& context);
  void step(const StepContext& context) override;
  void save(StateWriter& writer) const override;
  void load(const StateReader& reader) override;
  std::int64_t state_bytes() const override;

 private:
  double learning_rate_, momentum_, weight_decay_, weight_decay_last_, weight_decay_taper_from_;
  bool nesterov_;
  std::vector<OptimizedParameter> parameters_;
  std::vector<at::Tensor> velocity_;  // float32, shaped as the parameters
};

}  // namespace caddie
