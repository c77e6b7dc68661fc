#include "unet_gpt.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "generator.h"

namespace unet_gpt {

namespace ops = caddie::ops;
using caddie::ErrorKind;

UnetGpt::UnetGpt(const caddie::Options& options, const caddie::ModelContext& context)
    : config_(options, context), services_(context.services), device_(context.device),
      weights_(config_, context.device, context.precision), order_(execution_order(config_, config_.loops())) {}

void UnetGpt::initialize(caddie::Random& random) {
  weights_.initialize(config_, random);
  prepared_ = false;
}

void UnetGpt::prepare(bool training) {
  weights_.prepare(training);
  if (training != training_ && config_.training_rope_tables != config_.rope_tables) cos_ = sin_ = at::Tensor();
  training_ = training;
  extend_tables(config_.max_sequence);
  prepared_ = true;
}

void UnetGpt::set_progress(double share) {
  auto order = execution_order(config_, share >= config_.loop_from);
  if (order.size() != order_.size()) ++form_;
  order_ = std::move(order);
}

void UnetGpt::extend_tables(std::int64_t length) {
  if (device_.is_meta() || (cos_.defined() && cos_.size(0) >= length)) return;
  const at::NoGradGuard no_grad;
  const auto [cos, sin] = ops::rope_tables(length, config_.rope_dims, config_.rope_base,
                                           training_ ? config_.training_rope_tables : config_.rope_tables);
  // Pairs of channels (i, i + h/2) that are not rotated have the angle 0.
  const std::array<std::int64_t, 2> still = {length, (config_.head() - config_.rope_dims) / 2};
  cos_ = at::cat({cos, at::ones(still, at::kFloat)}, 1).to(device_);
  sin_ = at::cat({sin, at::zeros(still, at::kFloat)}, 1).to(device_);
  ++form_;  // at another place than before
}

void UnetGpt::check_batch(const at::Tensor& tokens) const {
  CADDIE_ASSERT(prepared_);
  CADDIE_CHECK(tokens.dim() == 2 && tokens.scalar_type() == at::kLong && tokens.numel() > 0, ErrorKind::failed,
               "the model takes int64 tokens [batch, sequence], not ", tokens.scalar_type(), " of ", tokens.dim(), " dimensions");
}

at::Tensor UnetGpt::add_skip(const at::Tensor& x, const at::Tensor& source, std::int64_t row) const {
  const auto weight = weights_.skip.select(0, row);
  if (!weights_.skip_gate.defined()) return ops::scaled_add(x, source, weight);
  const auto scaled = source.to(at::kFloat).mul(weight), gate = weights_.skip_gate.select(0, row).sigmoid();
  return scaled.add(x.to(at::kFloat).sub(scaled).mul(gate)).to(x.scalar_type());
}

at::Tensor UnetGpt::run_blocks(const at::Tensor& tokens, const Hooks& hooks, std::int64_t from) {
  check_batch(tokens);
  if (!hooks.attend) extend_tables(tokens.size(1));
  auto x0 = input_stream(config_, weights_, tokens, hooks.past, hooks.observer);
  auto x = x0;
  std::vector<at::Tensor> outputs;  // of the encoding positions, for the skips
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const auto& position = order_[i];
    if (position.skip) x = add_skip(x, outputs[static_cast<std::size_t>(position.skip->source)], position.skip->row);
    // What nobody scores still gives keys and values to the last block, and nothing more.
    x = run_block(position, static_cast<std::int64_t>(i), x, x0, hooks, i + 1 == order_.size() ? from : 0);
    if (position.encodes) outputs.push_back(x);
    if (hooks.block) hooks.block(x);
  }
  return x;
}

at::Tensor UnetGpt::nats(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t from) {
  const at::NoGradGuard no_grad;
  const auto scored = tokens.size(1) - from;
  CADDIE_CHECK(from >= 0 && scored > 0, ErrorKind::failed, "no position of ", tokens.size(1), " is left to score from ", from);
  const auto rows = run_blocks(tokens, {}, from).reshape({-1, config_.width});
  return head_nats(rows, targets.narrow(1, from, scored).reshape({-1})).view({tokens.size(0), scored});
}

at::Tensor UnetGpt::logits(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  return head(run_blocks(tokens, {}));
}

std::vector<at::Tensor> UnetGpt::trace(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> outputs;
  Hooks hooks;
  hooks.block = [&](const at::Tensor& output) { outputs.push_back(output); };
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
  const auto x = run_blocks(tokens, hooks);
  const auto announce = [&](const char* weight, const at::Tensor& input) {
    const std::array<std::string, 1> names = {weight};
    observer.input(names, input.reshape({-1, input.size(-1)}));
  };
  if (config_.embedding_rank) announce("head.reduce.weight", ops::rms_norm(x));
  announce(config_.tied ? "embedding.weight" : "head.weight", head_input(x));
}

std::int64_t UnetGpt::activation_bytes(std::int64_t tokens) const {
  const auto element = weights_.type() == at::kBFloat16 ? 2 : 4;
  const auto width = config_.width, qkv = width + 2 * config_.kv_width();
  // Kept a block: the stream before and after each half, both normed inputs, both outputs of the projections; q, k, v
  // before and after norm and rotation; the attended values; the MLP's hidden channels before and after the activation.
  const auto block = 8 * width + 2 * qkv + 2 * width + 2 * config_.hidden;
  const auto positions = config_.positions(config_.loops());
  return tokens * (positions * block * element + 4 * config_.vocabulary * std::int64_t{4});
}

double UnetGpt::training_flops_per_token() const {
  const auto positions = execution_order(config_, config_.loops());
  // Elements of all matrices, those of a block as often as it is run, head included.
  double multiplied = static_cast<double>(config_.vocabulary * config_.embedding_columns());
  for (const auto& parameter : weights_.parameters()) {
    if (parameter.role != caddie::Role::matrix) continue;
    const auto runs = parameter.layer < 0 ? 1 : std::count_if(positions.begin(), positions.end(), [&](const Position& position) {
      return position.block == parameter.layer;
    });
    multiplied += static_cast<double>(runs * parameter.tensor.numel());
  }
  // A causal position sees half of the sequence on average: 2 T D for scores and values, three times with backward.
  const auto attention = 6.0 * static_cast<double>(config_.positions(config_.loops()) * config_.max_sequence * config_.width);
  return 6 * multiplied + attention;
}

std::string UnetGpt::path() const {
  const char* precision = weights_.type() == at::kBFloat16 ? "bfloat16" : "float32";
  const auto small = config_.small_ops_because();
  return ops::kernels(device_, weights_.type()) + " " + precision + (small.empty() ? "" : "; blocks in small ops: " + small);
}

}  // namespace unet_gpt
