// AdamW (Loshchilov and Hutter, 2019; reference section 3): p = p (1 - rate decay), then Adam with bias correction, epsilon
// after the square root. With state_precision bfloat16 everything rests in bfloat16, a step computes in float32 and uses
// its moments before they are rounded; the float32 master then holds values that bfloat16 can represent.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "caddie/optimizer.h"

namespace caddie {

class AdamW final : public Optimizer {
 public:
  AdamW(const Options& options, const OptimizerContext& context);
  void step(const StepContext& context) override;
  void save(StateWriter& writer) const override;
  void load(const StateReader& reader) override;
  std::int64_t state_bytes() const override;

 private:
  void step_on_cpu(double rate, double decay);
  void step_on_device(double rate, double decay);

  double learning_rate_, beta1_, beta2_, epsilon_, weight_decay_, weight_decay_last_, weight_decay_taper_from_;
  bool bfloat16_;
  std::vector<OptimizedParameter> parameters_;
  std::vector<at::Tensor> first_, second_;  // moments, shaped as the parameters
  std::int64_t updates_ = 0;
};

}  // namespace caddie
