// Muon (Jordan et al., 2024; reference section 3): m = mu m + g; u = NS(g + mu m) max(1, rows / columns)^0.5;
// p = (p - rate u)(1 - rate decay). Matrices of one shape go through one batched Newton-Schulz iteration.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "caddie/optimizer.h"

namespace caddie {

class Muon final : public Optimizer {
 public:
  Muon(const Options& options, const OptimizerContext& context);
  void step(const StepContext& context) override;
  void save(StateWriter& writer) const override;
  void load(const StateReader& reader) override;
  std::int64_t state_bytes() const override;

 private:
  // Matrices of one shape that this rank updates.
  struct Group {
    std::vector<std::size_t> members;  // indices into parameters_
    at::Tensor momentum;               // float32 [n, R, C]
  };
  struct Rates {
    double momentum, rate, keep;  // keep = 1 - rate x decay
  };
  void make_groups();
  at::Tensor orthogonalized(Group& group, double momentum);
  void apply(const Group& group, const at::Tensor& updates, const Rates& rates);
  void share_and_apply(const std::vector<at::Tensor>& updates, const Rates& rates);

  double learning_rate_, momentum_, momentum_start_, weight_decay_;
  std::int64_t momentum_warmup_steps_;
  bool nesterov_, bfloat16_;
  int steps_;
  std::vector<double> coefficients_;
  Communicator* communicator_;
  std::vector<OptimizedParameter> parameters_;
  std::vector<Group> groups_;
  at::Tensor scratch_;  // float32, the largest group: what is orthogonalized
  at::Tensor shared_;   // with several ranks: all updates, one after the other
};

}  // namespace caddie
