#include "weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <cmath>

#include "caddie/error.h"
#include "caddie/ops.h"

namespace unet_gpt {

using caddie::ErrorKind;
using caddie::Role;

std::string block_name(std::int64_t layer, const char* rest) { return "blocks." + std::to_string(layer) + "." + rest; }

Weights::Weights(const Config& config, at::Device device, caddie::Precision precision)
    : device_(device), type_(precision == caddie::Precision::bfloat16 ? at::kBFloat16 : at::kFloat),
      round_scored_(config.round_scored_weights) {
  const auto width = config.width, kv = config.kv_width();
  if (config.skip_rows() > 0) skip = add("skip.weight", {config.skip_rows(), width}, Role::vector, "control", -1);
  if (config.skip_rows() > 0 && config.gated_skips)
    skip_gate = add("skip.gate", {config.skip_rows(), width}, Role::vector, "control", -1);
  embedding = add("embedding.weight", {config.vocabulary, config.embedding_columns()}, Role::embedding, "embedding", -1);
  add_around_blocks(config);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const auto vector = [&](const char* name, std::vector<std::int64_t> shape) {
      return add(block_name(i, name), std::move(shape), Role::vector, "control", static_cast<int>(i));
    };
    const auto matrix = [&](const char* name, std::int64_t out, std::int64_t in, const char* group) {
      return add(block_name(i, name), {out, in}, Role::matrix, group, static_cast<int>(i));
    };
    Block block;
    block.attention_scale = vector("attention_scale", {width});
    block.mlp_scale = vector("mlp_scale", {width});
    block.residual_mix = vector("residual_mix", {2, width});
    block.query_gain = vector("attention.query_gain", {config.heads});
    if (config.attention_gate != AttentionGate::none)
      block.gate = vector("attention.gate", {config.heads, config.gate_inputs()});
    block.query = matrix("attention.query.weight", width, width, "attention");
    block.key = matrix("attention.key.weight", kv, width, "attention");
    block.value = matrix("attention.value.weight", kv, width, "attention");
    block.output = matrix("attention.output.weight", width, width, "attention");
    block.up = matrix("mlp.up.weight", config.hidden, width, "mlp");
    block.down = matrix("mlp.down.weight", width, config.hidden, "mlp");
    blocks.push_back(std::move(block));
  }
  copies.resize(blocks.size());
}

void Weights::add_around_blocks(const Config& config) {
  const auto width = config.width;
  if (config.embedding_rank) {
    expand = add("embedding.expand.weight", {width, *config.embedding_rank}, Role::matrix, "factor", -1);
    reduce = add("head.reduce.weight", {*config.embedding_rank, width}, Role::matrix, "factor", -1);
  }
  output_map = embedding;
  if (!config.tied)
    output_map = add("head.weight", {config.vocabulary, config.embedding_columns()}, Role::embedding, "head", -1);
  if (config.bigram_buckets > 0) {
    bigram_table = add("bigram.table", {config.bigram_buckets, config.bigram_dim}, Role::embedding, "bigram", -1);
    bigram_projection = add("bigram.projection.weight", {width, config.bigram_dim}, Role::matrix, "bigram", -1);
    bigram_scale = add("bigram.scale", {1}, Role::vector, "control", -1);
  }
  if (config.smear == Smear::gate) smear_gate = add("smear.gate", {width}, Role::vector, "control", -1);
  if (config.smear == Smear::window) {
    smear_gate = add("smear.gate", {config.smear_window}, Role::vector, "control", -1);
    smear_strength = add("smear.strength", {1}, Role::vector, "control", -1);
  }
}

at::Tensor Weights::add(std::string name, std::vector<std::int64_t> shape, Role role, const char* group, int layer) {
  auto tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat).device(device_));
  tensor.set_requires_grad(true);
  parameters_.push_back({std::move(name), tensor, role, group, layer});
  return tensor;
}

namespace {

// Draws on the CPU, so that a seed means the same weights on every device.
template <class Draw>
void fill(const at::Tensor& parameter, Draw draw) {
  auto values = at::empty(parameter.sizes(), at::kFloat);
  auto* data = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(draw());
  parameter.detach().copy_(values);
}

// U(-1/sqrt(in), 1/sqrt(in)), the usual start of a linear map.
void fill_linear(const at::Tensor& weight, caddie::Random random) {
  const double bound = 1 / std::sqrt(static_cast<double>(weight.size(1)));
  fill(weight, [&] { return bound * (2 * random.uniform() - 1); });
}

}  // namespace

void Weights::initialize(const Config& config, caddie::Random& random) {
  const at::NoGradGuard no_grad;
  if (device_.is_meta()) return;
  const auto constant = [](const at::Tensor& tensor, double value) { tensor.detach().fill_(value); };
  if (skip.defined()) constant(skip, 1);
  if (skip_gate.defined()) constant(skip_gate, 0);
  auto stream = random.split("embedding.weight");
  fill(embedding, [&] { return config.embedding_std * stream.normal(); });
  if (config.embedding_spectrum && config.embedding_std > 0) {
    embedding.detach().copy_(caddie::ops::power_law_spectrum(embedding.detach().cpu(), *config.embedding_spectrum));
  }
  initialize_around_blocks(config, random);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto& block = blocks[i];
    if (block.gate.defined()) constant(block.gate, 0);
    constant(block.attention_scale, 1);
    constant(block.mlp_scale, 1);
    constant(block.residual_mix.select(0, 0), 1);
    constant(block.residual_mix.select(0, 1), 0);
    constant(block.query_gain, config.query_gain);
    const auto layer = static_cast<std::int64_t>(i);
    fill_linear(block.query, random.split(block_name(layer, "attention.query.weight")));
    fill_linear(block.key, random.split(block_name(layer, "attention.key.weight")));
    fill_linear(block.value, random.split(block_name(layer, "attention.value.weight")));
    fill_linear(block.up, random.split(block_name(layer, "mlp.up.weight")));
    constant(block.output, 0);
    constant(block.down, 0);
  }
}

// What is added to a model starts as if it were not there, or as published (a smear gate of sigmoid(3)).
void Weights::initialize_around_blocks(const Config& config, const caddie::Random& random) {
  const auto constant = [](const at::Tensor& tensor, double value) { tensor.detach().fill_(value); };
  if (expand.defined()) {
    fill_linear(expand, random.split("embedding.expand.weight"));
    fill_linear(reduce, random.split("head.reduce.weight"));
  }
  if (!config.tied) constant(output_map, 0);
  if (bigram_table.defined()) {
    auto stream = random.split("bigram.table");
    fill(bigram_table, [&] { return 0.02 * stream.normal(); });
    constant(bigram_projection, 0);
    constant(bigram_scale, 0.05);
  }
  if (smear_gate.defined()) constant(smear_gate, config.smear == Smear::gate ? 3 : 0);
  if (smear_strength.defined()) constant(smear_strength, 0);
}

void Weights::set_fake_quant(std::span<const caddie::FakeQuantRule> rules) {
  std::map<std::string, int> bits;
  for (const auto& rule : rules) {
    bool is_matrix = false;
    for (const auto& parameter : parameters_) is_matrix |= parameter.name == rule.parameter && parameter.role == Role::matrix;
    CADDIE_CHECK(is_matrix, ErrorKind::usage, "'", rule.parameter, "' cannot be fake-quantized, only matrices can");
    CADDIE_CHECK(rule.bits >= 2 && rule.bits <= 8, ErrorKind::usage, "fake quantization of '", rule.parameter, "' to ", rule.bits,
                 " bits is not possible, accepted: 2 to 8");
    bits[rule.parameter] = rule.bits;
  }
  fake_quant_bits_ = std::move(bits);
}

int Weights::bits_of(const std::string& name, bool training) const {
  const auto found = fake_quant_bits_.find(name);
  return training && found != fake_quant_bits_.end() ? found->second : 0;
}

at::Tensor Weights::copy_of(const at::Tensor& weight, int bits) const {
  const auto values = bits > 0 ? caddie::ops::fake_quantize_rows(weight.detach(), bits) : weight.detach();
  return (rounds_ ? values.to(at::kBFloat16) : values).to(type_);
}

void Weights::prepare(bool training) {
  const at::NoGradGuard no_grad;
  rounds_ = round_scored_ && !training;
  fake_quantized_ = training && !fake_quant_bits_.empty();
  if (device_.is_meta()) return;
  const auto named = [&](const at::Tensor& weight, const char* name) { return copy_of(weight, bits_of(name, training)); };
  output_map_copy = copy_of(output_map, 0);
  if (expand.defined()) {
    expand_copy = named(expand, "embedding.expand.weight");
    reduce_copy = named(reduce, "head.reduce.weight");
  }
  if (bigram_projection.defined()) bigram_projection_copy = named(bigram_projection, "bigram.projection.weight");
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto& block = blocks[i];
    const auto copy = [&](const at::Tensor& weight, const char* name) {
      return copy_of(weight, bits_of(block_name(static_cast<std::int64_t>(i), name), training));
    };
    copies[i].qkv = at::cat({copy(block.query, "attention.query.weight"), copy(block.key, "attention.key.weight"),
                             copy(block.value, "attention.value.weight")}, 0);
    copies[i].output = copy(block.output, "attention.output.weight");
    copies[i].up = copy(block.up, "mlp.up.weight");
    copies[i].down = copy(block.down, "mlp.down.weight");
  }
}

}  // namespace unet_gpt
