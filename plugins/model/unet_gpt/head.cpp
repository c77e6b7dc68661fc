// The output end of the model: last norm, the map to the vocabulary, the cap, and losses.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>

#include "caddie/ops.h"
#include "unet_gpt.h"

namespace unet_gpt {

namespace ops = caddie::ops;

at::Tensor UnetGpt::head_input(const at::Tensor& x) const {
  const auto normed = ops::rms_norm(x);
  return config_.embedding_rank ? ops::linear(normed, weights_.reduce, weights_.reduce_copy) : normed;
}

at::Tensor UnetGpt::head(const at::Tensor& x) const {
  if (!config_.embedding_rank && !at::GradMode::is_enabled())
    return ops::head_logits(x, weights_.output_map, weights_.output_map_copy, config_.logit_cap);
  const auto products = ops::linear(head_input(x), weights_.output_map, weights_.output_map_copy).to(at::kFloat);
  return config_.logit_cap == 0 ? products : products.div(config_.logit_cap).tanh().mul(config_.logit_cap);
}

at::Tensor UnetGpt::head_nats(const at::Tensor& x, const at::Tensor& targets) const {
  const auto &map = weights_.output_map, &copy = weights_.output_map_copy;
  if (config_.logit_cap == 0) return at::log_softmax(head(x), -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1).neg();
  if (config_.embedding_rank) return ops::softcap_cross_entropy(head_input(x), map, copy, targets, config_.logit_cap);
  return ops::head_nats(x, map, copy, targets, config_.logit_cap);
}

at::Tensor UnetGpt::loss(const at::Tensor& tokens, const at::Tensor& targets) {
  const auto rows = run_blocks(tokens, {}).reshape({-1, config_.width});
  const auto wanted = targets.reshape({-1});
  if (config_.logit_cap == 0 || config_.embedding_rank) return head_nats(rows, wanted).mean();
  return ops::head_loss(rows, weights_.output_map, weights_.output_map_copy, wanted, config_.logit_cap);
}

}  // namespace unet_gpt
