// One block of the model: as two large ops where they cover it, else in small ops, for options that they do not know
// and for who must look between them.
#include <ATen/ops/linear.h>

#include <initializer_list>

#include "caddie/ops.h"
#include "unet_gpt.h"

namespace unet_gpt {

namespace ops = caddie::ops;

namespace {

// A factor for each head's output, from the block's normed input (see the option attention_gate). attended [B, T, H h].
at::Tensor gated(const Config& config, const at::Tensor& attended, const at::Tensor& normed, const at::Tensor& gate) {
  auto logits = at::linear(normed.narrow(-1, 0, gate.size(1)).to(at::kFloat), gate);
  if (config.attention_gate == AttentionGate::sparse) logits = logits.mul(config.attention_gate_scale);
  auto factor = logits.sigmoid();
  if (config.attention_gate == AttentionGate::out) factor = factor.mul(2);
  const auto by_head = attended.unflatten(-1, {config.heads, config.head()});
  return by_head.to(at::kFloat).mul(factor.unsqueeze(-1)).to(attended.scalar_type()).flatten(-2);
}

}  // namespace

ops::AttentionHalf UnetGpt::attention_weights(std::int64_t layer) const {
  const auto& block = weights_.blocks[static_cast<std::size_t>(layer)];
  const auto& copies = weights_.copies[static_cast<std::size_t>(layer)];
  return {block.residual_mix, block.query,     block.key,      block.value,           copies.qkv,       block.query_gain,
          block.output,       copies.output,   block.attention_scale, config_.kv_heads, config_.excludes_self(layer)};
}

at::Tensor UnetGpt::run_block(const Position& position, std::int64_t index, const at::Tensor& x, at::Tensor& x0,
                              const Hooks& hooks, std::int64_t from) const {
  const auto layer = position.block;
  const auto& block = weights_.blocks[static_cast<std::size_t>(layer)];
  const auto& copies = weights_.copies[static_cast<std::size_t>(layer)];
  if (hooks.observer || (hooks.attend && !hooks.attention_half) || config_.in_small_ops(layer))
    return run_block_in_steps(layer, index, x, x0, hooks, from);
  const ops::MlpHalf mlp{block.up, copies.up, block.down, copies.down, block.mlp_scale, config_.slope};
  if (hooks.attention_half) return ops::mlp_half(hooks.attention_half(layer, index, x, x0), mlp);
  const auto length = x.size(1);
  const auto attended = ops::attention_half_passing(x, x0, attention_weights(layer), cos_.narrow(0, 0, length),
                                                    sin_.narrow(0, 0, length), from);
  x0 = attended.x0;
  return ops::mlp_half(attended.out, mlp);
}

at::Tensor UnetGpt::run_block_in_steps(std::int64_t layer, std::int64_t index, at::Tensor x, const at::Tensor& x0,
                                       const Hooks& hooks, std::int64_t from) const {
  const auto& block = weights_.blocks[static_cast<std::size_t>(layer)];
  const auto& copies = weights_.copies[static_cast<std::size_t>(layer)];
  const auto observe = [&](std::initializer_list<const char*> names, const at::Tensor& input) {
    if (hooks.observer == nullptr) return;
    std::vector<std::string> full;
    for (const char* name : names) full.push_back(block_name(layer, name));
    hooks.observer->input(full, input.detach().reshape({-1, input.size(-1)}));
  };
  const auto scale = config_.norm_scale(layer);
  const auto norm = [scale](const at::Tensor& t) {
    return scale == 1 ? ops::rms_norm(t) : ops::rms_norm(t).mul(scale);
  };
  // What nobody scores still gave keys and values.
  const auto wanted = [from](const at::Tensor& t) { return from == 0 ? t : t.narrow(1, from, t.size(1) - from); };

  x = ops::residual_mix(x, x0, block.residual_mix);
  const auto normed = norm(x);
  observe({"attention.query.weight", "attention.key.weight", "attention.value.weight"}, normed);
  const auto qkv = ops::linear_stacked(normed, {block.query, block.key, block.value}, copies.qkv);
  const auto length = qkv.size(1);
  auto attended = hooks.attend ? hooks.attend(layer, index, qkv)
                               : ops::self_attention(qkv, cos_.narrow(0, 0, length), sin_.narrow(0, 0, length),
                                                     block.query_gain, config_.kv_heads, config_.excludes_self(layer));
  if (block.gate.defined()) attended = gated(config_, attended, normed, block.gate);
  attended = wanted(attended);
  x = wanted(x);
  observe({"attention.output.weight"}, attended);
  x = ops::scaled_add(x, ops::linear(attended, block.output, copies.output), block.attention_scale);

  const auto mlp_input = config_.parallel(layer) ? wanted(normed) : norm(x);
  observe({"mlp.up.weight"}, mlp_input);
  const auto activated = ops::squared_leaky_relu(ops::linear(mlp_input, block.up, copies.up), config_.slope);
  observe({"mlp.down.weight"}, activated);
  return ops::scaled_add(x, ops::linear(activated, block.down, copies.down), block.mlp_scale);
}

}  // namespace unet_gpt
