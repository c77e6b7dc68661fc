#include "unet_gpt.h"

#include <ATen/core/grad_mode.h>

#include <initializer_list>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "generator.h"

namespace unet_gpt {

namespace ops = caddie::ops;
using caddie::ErrorKind;

UnetGpt::UnetGpt(const caddie::Options& options, const caddie::ModelContext& context)
    : config_(options, context), services_(context.services), device_(context.device),
      weights_(config_, context.device, context.precision) {}

void UnetGpt::initialize(caddie::Random& random) {
  weights_.initialize(config_, random);
  prepared_ = false;
}

void UnetGpt::prepare(bool training) {
  weights_.prepare(training);
  extend_tables(config_.max_sequence);
  prepared_ = true;
}

void UnetGpt::extend_tables(std::int64_t length) {
  if (device_.is_meta() || (cos_.defined() && cos_.size(0) >= length)) return;
  const at::NoGradGuard no_grad;
  const auto [cos, sin] = ops::rope_tables(length, config_.head(), config_.rope_base, config_.rope_tables);
  cos_ = cos.to(device_);
  sin_ = sin.to(device_);
}

void UnetGpt::check_batch(const at::Tensor& tokens) const {
  CADDIE_ASSERT(prepared_);
  CADDIE_CHECK(tokens.dim() == 2 && tokens.scalar_type() == at::kLong && tokens.numel() > 0, ErrorKind::failed,
               "the model takes int64 tokens [batch, sequence], not ", tokens.scalar_type(), " of ", tokens.dim(), " dimensions");
}

at::Tensor UnetGpt::run_block(std::int64_t layer, const at::Tensor& x, const at::Tensor& x0, const Hooks& hooks,
                              std::int64_t from) const {
  const auto& block = weights_.blocks[static_cast<std::size_t>(layer)];
  const auto& copies = weights_.copies[static_cast<std::size_t>(layer)];
  if (hooks.observer || hooks.attend) return run_block_in_steps(layer, x, x0, hooks);
  const auto length = x.size(1);
  const auto attended = ops::attention_half(
      x, x0, {block.residual_mix, block.query, block.key, block.value, copies.qkv, block.query_gain, block.output, copies.output,
              block.attention_scale, config_.kv_heads, config_.excludes_self(layer)},
      cos_.narrow(0, 0, length), sin_.narrow(0, 0, length), from);
  return ops::mlp_half(attended, {block.up, copies.up, block.down, copies.down, block.mlp_scale, config_.slope});
}

// The same in small ops, for who must look between them.
at::Tensor UnetGpt::run_block_in_steps(std::int64_t layer, at::Tensor x, const at::Tensor& x0, const Hooks& hooks) const {
  const auto& block = weights_.blocks[static_cast<std::size_t>(layer)];
  const auto& copies = weights_.copies[static_cast<std::size_t>(layer)];
  const auto observe = [&](std::initializer_list<const char*> names, const at::Tensor& input) {
    if (hooks.observer == nullptr) return;
    std::vector<std::string> full;
    for (const char* name : names) full.push_back(block_name(layer, name));
    hooks.observer->input(full, input.detach().reshape({-1, input.size(-1)}));
  };

  x = ops::residual_mix(x, x0, block.residual_mix);
  const auto normed = ops::rms_norm(x);
  observe({"attention.query.weight", "attention.key.weight", "attention.value.weight"}, normed);
  const auto qkv = ops::linear_stacked(normed, {block.query, block.key, block.value}, copies.qkv);
  const auto length = qkv.size(1);
  const auto attended = hooks.attend ? hooks.attend(layer, qkv)
                                     : ops::self_attention(qkv, cos_.narrow(0, 0, length), sin_.narrow(0, 0, length),
                                                           block.query_gain, config_.kv_heads, config_.excludes_self(layer));
  observe({"attention.output.weight"}, attended);
  x = ops::scaled_add(x, ops::linear(attended, block.output, copies.output), block.attention_scale);

  const auto mlp_input = ops::rms_norm(x);
  observe({"mlp.up.weight"}, mlp_input);
  const auto activated = ops::squared_leaky_relu(ops::linear(mlp_input, block.up, copies.up), config_.slope);
  observe({"mlp.down.weight"}, activated);
  return ops::scaled_add(x, ops::linear(activated, block.down, copies.down), block.mlp_scale);
}

at::Tensor UnetGpt::run_blocks(const at::Tensor& tokens, const Hooks& hooks, std::int64_t from) {
  check_batch(tokens);
  if (!hooks.attend) extend_tables(tokens.size(1));
  const auto x0 = ops::embed_norm(tokens, weights_.embedding, weights_.type());
  auto x = x0;
  std::vector<at::Tensor> outputs;  // of the encoding blocks, for the skips
  for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
    if (const auto skip = config_.skip_before(layer)) {
      x = ops::scaled_add(x, outputs[static_cast<std::size_t>(skip->source)], weights_.skip.select(0, skip->row));
    }
    // What nobody scores still gives keys and values to the last block, and nothing more.
    x = run_block(layer, x, x0, hooks, layer + 1 == config_.layers ? from : 0);
    if (layer < config_.layers / 2) outputs.push_back(x);
    if (hooks.block) hooks.block(layer, x);
  }
  return x;
}

at::Tensor UnetGpt::head(const at::Tensor& x) const {
  const auto products = ops::linear(ops::rms_norm(x), weights_.embedding, weights_.embedding_copy).to(at::kFloat);
  return products.div(config_.logit_cap).tanh().mul(config_.logit_cap);
}

at::Tensor UnetGpt::loss(const at::Tensor& tokens, const at::Tensor& targets) {
  const auto rows = run_blocks(tokens, {}).reshape({-1, config_.width});
  return ops::head_loss(rows, weights_.embedding, weights_.embedding_copy, targets.reshape({-1}), config_.logit_cap);
}

at::Tensor UnetGpt::nats(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t from) {
  const at::NoGradGuard no_grad;
  const auto scored = tokens.size(1) - from;
  CADDIE_CHECK(from >= 0 && scored > 0, ErrorKind::failed, "no position of ", tokens.size(1), " is left to score from ", from);
  const auto rows = run_blocks(tokens, {}, from).reshape({-1, config_.width});
  return ops::head_nats(rows, weights_.embedding, weights_.embedding_copy, targets.narrow(1, from, scored).reshape({-1}),
                        config_.logit_cap)
      .view({tokens.size(0), scored});
}

at::Tensor UnetGpt::logits(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  return head(run_blocks(tokens, {}));
}

std::vector<at::Tensor> UnetGpt::trace(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> outputs;
  Hooks hooks;
  hooks.block = [&](std::int64_t, const at::Tensor& output) { outputs.push_back(output); };
  outputs.push_back(head(run_blocks(tokens, hooks)));
  return outputs;
}

std::unique_ptr<caddie::Generator> UnetGpt::generator(std::int64_t batch, std::int64_t capacity) {
  CADDIE_ASSERT(prepared_);
  extend_tables(capacity);
  return std::make_unique<CachedGenerator>(*this, batch, capacity);
}

void UnetGpt::observe(const at::Tensor& tokens, caddie::LinearObserver& observer) {
  const at::NoGradGuard no_grad;
  Hooks hooks;
  hooks.observer = &observer;
  run_blocks(tokens, hooks);
}

std::int64_t UnetGpt::activation_bytes(std::int64_t tokens) const {
  const auto element = weights_.type() == at::kBFloat16 ? 2 : 4;
  const auto width = config_.width, qkv = width + 2 * config_.kv_width();
  // Kept a block: the stream before and after each half, both normed inputs, both outputs of the projections; q, k, v
  // before and after norm and rotation; the attended values; the MLP's hidden channels before and after the activation.
  const auto block = 8 * width + 2 * qkv + 2 * width + 2 * config_.hidden;
  return tokens * (config_.layers * block * element + 4 * config_.vocabulary * std::int64_t{4});
}

double UnetGpt::training_flops_per_token() const {
  double multiplied = static_cast<double>(config_.vocabulary * config_.width);  // elements of all matrices, head included
  for (const auto& parameter : weights_.parameters()) {
    if (parameter.role == caddie::Role::matrix) multiplied += static_cast<double>(parameter.tensor.numel());
  }
  // A causal position sees half of the sequence on average: 2 T D for scores and values, three times with backward.
  const auto attention = 6.0 * static_cast<double>(config_.layers * config_.max_sequence * config_.width);
  return 6 * multiplied + attention;
}

std::string UnetGpt::path() const {
  const char* precision = weights_.type() == at::kBFloat16 ? "bfloat16" : "float32";
  return ops::kernels(device_, weights_.type()) + " " + precision;
}

}  // namespace unet_gpt
