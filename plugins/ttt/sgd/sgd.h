// Test-time training by SGD with momentum (reference.md section 5): `epochs` passes over a scored chunk in order,
// gradients clipped by their global norm, the rate falling over the chunks. Momentum lives on from chunk to chunk.
#pragma once

#include <vector>

#include "caddie/ttt.h"

namespace caddie_sgd {

extern const std::span<const caddie::OptionSpec> kOptions;

class Sgd final : public caddie::TttStrategy {
 public:
  Sgd(const caddie::Options& options, const caddie::TttContext& context);
  bool adapts() const override { return true; }
  void adapt(const caddie::ScoredChunk& chunk, caddie::Learner& learner) override;
  double rate(std::int64_t chunk, std::int64_t count) const override;

 private:
  void update(std::span<const caddie::Parameter> parameters, std::vector<at::Tensor>& gradients, double rate);

  caddie::Services* services_;
  double learning_rate_, momentum_, clip_;
  std::int64_t epochs_, batch_;
  bool cosine_;
  std::vector<at::Tensor> velocity_;  // one a parameter, made on the first step
};

}  // namespace caddie_sgd
