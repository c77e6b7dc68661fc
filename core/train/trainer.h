// Training, one step at a time: gradients over micro batches and ranks, clipping, optimizers, averages. It knows neither
// clocks nor files nor where tokens come from; core/train/train.h drives it, and so does the parity command.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "caddie/communicator.h"
#include "caddie/model.h"
#include "caddie/optimizer.h"
#include "caddie/services.h"
#include "core/base/batch_source.h"
#include "core/ops/recorded.h"
#include "core/train/averager.h"
#include "core/train/gradient_arena.h"
#include "core/train/gradient_reducer.h"
#include "core/train/settings.h"

namespace caddie::train {

// The weights that the rules of `train.fake_quant` mean, by name. Throws Error(usage) if a rule matches no weight of a linear
// map, or if two match one.
CADDIE_API std::vector<FakeQuantRule> expand_fake_quant(std::span<const FakeQuant> entries,
                                                        std::span<const Parameter> parameters);

// Makes the optimizer of entry `entry` of the manifest's `optimizers`.
using OptimizerFactory = std::function<std::shared_ptr<Optimizer>(std::size_t entry, const OptimizerContext& context)>;

class CADDIE_API Trainer {
 public:
  // The model must hold its initial weights: averages start from them. All references must outlive the trainer. Throws
  // Error(usage) if a parameter belongs to no optimizer or to several, or if a fake_quant rule matches nothing.
  Trainer(Model& model, const TrainSettings& settings, const OptimizerFactory& factory, Communicator& communicator,
          Services& services);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // One step over this rank's micro batches, with every learning rate times `rate_factor`, when the share `progress` of
  // the budget is used. Returns the mean loss over micro batches and ranks, in nats. Throws Error(failed) if a loss or
  // gradient is not finite: it names step, micro batch and the first tensor, and no weight was changed.
  double step(std::span<const Batch> micro_batches, double rate_factor, double progress = 0);
  // Whether a step looks at its losses after its optimizers were launched, so that a device has work while the host looks. What
  // was not finite is then undone: weights are set back, optimizers and averages are of no use any more. On by itself with a device.
  void look_late(bool on);
  // Its part after the gradients are there: optimizers and averages, with those of the last step.
  void update(double rate_factor, double progress = 0);

  std::int64_t steps() const { return steps_; }  // done so far
  Averager& averager() { return averager_; }
  // The optimizer of an entry of the manifest, null if it has no parameters.
  Optimizer* optimizer(std::size_t entry) { return optimizers_[entry].get(); }
  NamedTensors weights() const;  // copies of the parameters as they are

  // Parameters, optimizers, averages and the count of steps, bit for bit.
  void save(StateWriter& writer) const;
  void load(const StateReader& reader);

 private:
  void set_progress(double progress);
  void make_optimizers(const OptimizerFactory& factory, Services& services);
  // The gradients of all ranks. Gives the loss of each micro batch, then the gradient's norm after each, float32 [2 n] on the
  // device: the last norm is that of all ranks' gradients, those before are this rank's own.
  at::Tensor accumulate(std::span<const Batch> micro_batches);
  at::Tensor forward_and_backward(std::span<const Batch> micro_batches);
  // The mean over micro batches and ranks of what accumulate() gave, now on the CPU, or nothing if something is not finite on any
  // rank.
  std::optional<double> mean_loss(const at::Tensor& measured);
  bool recordable(std::span<const Batch> micro_batches);
  at::Tensor repeated(std::span<const Batch> micro_batches);
  void clip();
  [[noreturn]] void report_not_finite(const at::Tensor& measured, std::span<const Batch> micro_batches);

  Model& model_;
  TrainSettings settings_;
  Communicator& communicator_;
  GradientArena gradients_;
  std::unique_ptr<GradientReducer> reducer_;  // with several ranks
  Averager averager_;
  std::vector<FakeQuantRule> fake_quant_;
  bool rounds_ = true;  // whether the model has these rules now
  std::vector<std::shared_ptr<Optimizer>> optimizers_;
  std::int64_t steps_ = 0;
  bool late_ = false;
  std::vector<at::Tensor> parameters_, before_;  // before the optimizers, if losses are looked at late
  at::Tensor on_host_;
  // A recorded step, and the memory that it reads and writes.
  std::unique_ptr<ops::Recorded> recorded_;
  std::int64_t form_ = -1;
  std::vector<Batch> static_batches_;
  at::Tensor static_measured_;
};

}  // namespace caddie::train
