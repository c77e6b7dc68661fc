// Gradients for a test-time training strategy: the mean loss with fake quantization off, averaged over the ranks. A
// frozen parameter is one that is not handed over; the model itself is never changed for it (reference.md section
// 8.3).
#pragma once

#include <string>
#include <vector>

#include "caddie/communicator.h"
#include "caddie/model.h"
#include "caddie/ttt.h"
#include "core/base/parameter_match.h"

namespace caddie::eval {

class CADDIE_API ModelLearner final : public Learner {
 public:
  // `freeze`: roles, groups or name patterns. `pass_tokens`: tokens of one forward and backward pass; more rows are
  // split and their gradients added up (0: all at once). Error(usage) if a pattern matches nothing or everything is
  // frozen.
  ModelLearner(Model& model, const std::vector<std::string>& freeze, Communicator* communicator,
               std::int64_t pass_tokens);
  ~ModelLearner() override;

  std::span<const Parameter> parameters() override { return trained_; }
  // Throws Error(failed) if the loss is not finite. `out` may be changed by the caller.
  double gradients(const at::Tensor& inputs, const at::Tensor& targets, std::vector<at::Tensor>& out) override;
  std::int64_t calls() const { return calls_; }  // of gradients()

 private:
  Model& model_;
  Communicator* communicator_;
  std::int64_t pass_tokens_;
  std::vector<Parameter> trained_;
  bool all_;
  std::int64_t calls_ = 0;
};

}  // namespace caddie::eval
