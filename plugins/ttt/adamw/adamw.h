// Test-time training by AdamW (arXiv 1711.05101) with a factor of the rate for each parameter: reference section 8.2.
// Moments live on from chunk to chunk.
#pragma once

#include <vector>

#include "caddie/ttt.h"
#include "rates.h"

namespace ttt_adamw {

extern const std::span<const caddie::OptionSpec> kOptions;

class AdamW final : public caddie::TttStrategy {
 public:
  AdamW(const caddie::Options& options, const caddie::TttContext& context);
  bool adapts() const override { return true; }
  void adapt(const caddie::ScoredChunk& chunk, caddie::Learner& learner) override;
  double rate(std::int64_t chunk, std::int64_t count) const override;

 private:
  void update(std::span<const caddie::Parameter> parameters, std::vector<at::Tensor>& gradients, double rate);

  caddie::Services* services_;
  double learning_rate_, beta1_, beta2_, epsilon_, weight_decay_, clip_;
  std::int64_t epochs_, batch_;
  bool cosine_;
  std::vector<RateRule> rules_;
  std::vector<double> factors_;               // one a parameter
  std::vector<at::Tensor> first_, second_;    // moments, one a parameter, made on the first step
  std::int64_t steps_ = 0;
};

}  // namespace ttt_adamw
