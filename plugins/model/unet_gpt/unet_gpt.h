// The reference's model: a GPT whose first half of the blocks encodes and whose second half decodes, with U-Net skips,
// normed and rotated queries and keys, grouped key/value heads, exclusive self attention in the last blocks, a squared
// leaky ReLU, a tied embedding and capped logits (reference section 2); and what later systems added, as options.
#pragma once

#include <functional>
#include <memory>

#include "caddie/model.h"
#include "caddie/ops.h"
#include "config.h"
#include "input.h"
#include "order.h"
#include "weights.h"

namespace unet_gpt {

class UnetGpt final : public caddie::Model {
 public:
  UnetGpt(const caddie::Options& options, const caddie::ModelContext& context);

  const std::vector<caddie::Parameter>& parameters() override { return weights_.parameters(); }
  void initialize(caddie::Random& random) override;
  void set_fake_quant(std::span<const caddie::FakeQuantRule> rules) override {
    weights_.set_fake_quant(rules);
    ++form_;
  }
  void prepare(bool training) override;
  void set_progress(double share) override;
  std::int64_t form() const override { return form_; }
  at::Tensor loss(const at::Tensor& tokens, const at::Tensor& targets) override;
  at::Tensor nats(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t from) override;
  at::Tensor logits(const at::Tensor& tokens) override;
  std::vector<at::Tensor> trace(const at::Tensor& tokens) override;
  std::unique_ptr<caddie::Generator> generator(std::int64_t batch, std::int64_t capacity) override;
  void observe(const at::Tensor& tokens, caddie::LinearObserver& observer) override;
  std::int64_t activation_bytes(std::int64_t tokens) const override;
  double training_flops_per_token() const override;
  std::string path() const override;

 private:
  friend class CachedGenerator;
  // What a caller may look at while the blocks run; each may be empty.
  struct Hooks {
    std::function<void(const at::Tensor& output)> block;
    caddie::LinearObserver* observer = nullptr;
    // In place of self attention over the batch: a generator's cache. Takes qkv [B, T, (H + 2 K) h] of the position `index`
    // in the order of the blocks, gives [B, T, H h].
    std::function<at::Tensor(std::int64_t layer, std::int64_t index, const at::Tensor& qkv)> attend;
    // In place of a block's first half [B, 1, D], where ops know the whole of it.
    std::function<at::Tensor(std::int64_t layer, std::int64_t index, const at::Tensor& x, const at::Tensor& x0)> attention_half;
    InputPast* past = nullptr;
  };

  // The stream before the last norm, [B, T - from, D].
  at::Tensor run_blocks(const at::Tensor& tokens, const Hooks& hooks, std::int64_t from = 0);
  at::Tensor add_skip(const at::Tensor& x, const at::Tensor& source, std::int64_t row) const;
  caddie::ops::AttentionHalf attention_weights(std::int64_t layer) const;
  // x0 becomes what the next block is to take for it (caddie/ops.h, attention_half_passing).
  at::Tensor run_block(const Position& position, std::int64_t index, const at::Tensor& x, at::Tensor& x0,
                       const Hooks& hooks, std::int64_t from) const;
  at::Tensor run_block_in_steps(std::int64_t layer, std::int64_t index, at::Tensor x, const at::Tensor& x0,
                                const Hooks& hooks, std::int64_t from) const;

  // What enters the output map: normed, and reduced if the embedding is factored.
  at::Tensor head_input(const at::Tensor& x) const;
  at::Tensor head(const at::Tensor& x) const;  // capped logits, float32
  // Nats of each row of the stream, float32 [N]; x [N, D].
  at::Tensor head_nats(const at::Tensor& x, const at::Tensor& targets) const;
  void check_batch(const at::Tensor& tokens) const;
  void extend_tables(std::int64_t length);

  Config config_;
  caddie::Services* services_;
  at::Device device_;
  Weights weights_;
  std::vector<Position> order_;  // of the blocks, now
  at::Tensor cos_, sin_;         // [positions, h/2]
  std::int64_t form_ = 0;
  bool prepared_ = false, training_ = false;
};

}  // namespace unet_gpt
