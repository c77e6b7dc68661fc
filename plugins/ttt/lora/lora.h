// Test-time training of low-rank adapters (LoRA, arXiv 2106.09685): a weight W becomes W + (alpha / rank) B A, and B and A
// alone learn. The host hands over chunks; at the end of a document the adapters can start again, and W is then what it
// was, bit for bit.
#pragma once

#include <string>
#include <vector>

#include "caddie/ttt.h"

namespace lora {

extern const std::span<const caddie::OptionSpec> kOptions;

class Lora final : public caddie::TttStrategy {
 public:
  Lora(const caddie::Options& options, const caddie::TttContext& context);
  bool adapts() const override { return true; }
  void adapt(const caddie::ScoredChunk& chunk, caddie::Learner& learner) override;
  void end_document(caddie::Learner& learner) override;
  double rate(std::int64_t chunk, std::int64_t count) const override;

 private:
  struct Adapter {
    std::size_t parameter;     // index in the learner's list
    at::Tensor base;           // W [R, C]
    at::Tensor down, up;       // A [k, C], B [R, k]
    at::Tensor moments[4];     // first and second of A, then of B
  };
  void prepare(caddie::Learner& learner);
  void update(caddie::Learner& learner, std::vector<at::Tensor>& gradients, double rate);
  // One Adam step of `value` along `gradient`.
  void step(at::Tensor& value, const at::Tensor& gradient, at::Tensor& first, at::Tensor& second, double rate) const;

  caddie::Services* services_;
  std::string match_;
  std::int64_t rank_, epochs_, batch_;
  double scale_, learning_rate_, beta1_, beta2_, weight_decay_, clip_;
  bool cosine_, resets_;
  std::vector<Adapter> adapters_;
  std::int64_t steps_ = 0;  // since the last reset
};

}  // namespace lora
