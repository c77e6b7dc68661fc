// Muon (Jordan et al., 2024; reference section 3): m = mu m + g; u = NS(g + mu m) max(1, rows / columns)^0.5;
// p = (p - rate u)(1 - rate decay). Matrices of one shape go through one batched Newton-Schulz iteration.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "caddie/optimizer.h"
#include "variants.h"

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
    at::Tensor row_moment;             // float32 [n, R, 1], undefined unless updates are normalized by rows
  };
  struct Rates {
    double momentum, rate, keep;  // keep = 1 - rate x decay
  };
  void deal(std::size_t ranks);
  void make_groups();
  at::Tensor orthogonalized(Group& group, double momentum);
  void apply(const Group& group, const at::Tensor& updates, const Rates& rates);
  // The place of matrix i in a buffer like shared_: in the row of the rank that owns it.
  at::Tensor place(const at::Tensor& shared, std::size_t i) const;
  void gather(at::Tensor& shared, const std::vector<at::Tensor>& own) const;
  void share_and_apply(const std::vector<at::Tensor>& updates, const Rates& rates);

  double learning_rate_, momentum_, momentum_start_, weight_decay_, weight_decay_last_, weight_decay_taper_from_;
  std::int64_t momentum_warmup_steps_;
  bool nesterov_, bfloat16_;
  NewtonSchulz newton_schulz_;
  RowNorm row_norm_;
  double row_beta2_;
  Communicator* communicator_;
  std::vector<OptimizedParameter> parameters_;
  std::vector<Group> groups_;
  at::Tensor scratch_;  // float32, the largest group: what is orthogonalized
  // With several ranks each matrix belongs to one.
  std::vector<std::size_t> owner_;
  std::vector<std::int64_t> offsets_;  // of matrix i in its owner's row
  at::Tensor shared_;                  // [ranks, elements of a rank]: all updates
};

}  // namespace caddie
