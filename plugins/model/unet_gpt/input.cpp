#include "input.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <string>

#include "caddie/ops.h"

namespace unet_gpt {

namespace ops = caddie::ops;

namespace {

void observe(caddie::LinearObserver* observer, const std::string& weight, const at::Tensor& input) {
  if (observer == nullptr) return;
  const std::array names = {weight};
  observer->input(names, input.detach().reshape({-1, input.size(-1)}));
}

// The row of position t holds what was at t - 1: `before` at the first.
at::Tensor shifted(const at::Tensor& rows, const at::Tensor& before) {
  return at::cat({before, rows.narrow(1, 0, rows.size(1) - 1)}, 1);
}

at::Tensor embedded(const Config& config, const Weights& weights, const at::Tensor& tokens, const InputPast* past,
                    caddie::LinearObserver* observer) {
  const auto type = weights.type();
  if (!config.embedding_rank && config.bigram_buckets == 0) return ops::embed_norm(tokens, weights.embedding, type);
  auto x = at::embedding(weights.embedding, tokens).to(type);
  if (config.embedding_rank) {
    observe(observer, "embedding.expand.weight", x);
    x = ops::linear(x, weights.expand, weights.expand_copy);
  }
  if (config.bigram_buckets > 0) {
    const auto rows = bigram_rows(tokens, past ? past->token : at::Tensor(), config.bigram_buckets);
    const auto pairs = at::embedding(weights.bigram_table, rows).to(type);
    observe(observer, "bigram.projection.weight", pairs);
    const auto mapped = ops::linear(pairs, weights.bigram_projection, weights.bigram_projection_copy);
    x = x.to(at::kFloat).add(mapped.to(at::kFloat).mul(weights.bigram_scale)).to(type);
  }
  return ops::rms_norm(x);
}

// gate:   g x_t + (1 - g) x_{t-1}, g = sigmoid(smear.gate), a channel each (#162).
// window: x_t + s sigmoid(w . x_t[:n]) x_{t-1} (#1667).
// At a token that begins a document x_{t-1} counts as 0, as at the first position (#1851).
at::Tensor smeared(const Config& config, const Weights& weights, const at::Tensor& tokens, const at::Tensor& x,
                   const InputPast* past) {
  const bool goes_on = past != nullptr && past->stream.defined();
  const auto first = goes_on ? past->stream : at::zeros({x.size(0), 1, x.size(2)}, x.options().requires_grad(false));
  const auto wide = x.to(at::kFloat);
  auto before = shifted(x, first).to(at::kFloat);
  if (config.smear_boundary >= 0) before = before.mul(tokens.ne(config.smear_boundary).unsqueeze(-1));
  if (config.smear == Smear::gate) {
    const auto gate = weights.smear_gate.sigmoid();
    return wide.mul(gate).add(before.mul(gate.neg().add(1))).to(x.scalar_type());
  }
  const auto gate = wide.narrow(-1, 0, config.smear_window).mul(weights.smear_gate).sum(-1, /*keepdim=*/true).sigmoid();
  return wide.add(before.mul(gate.mul(weights.smear_strength))).to(x.scalar_type());
}

}  // namespace

at::Tensor bigram_rows(const at::Tensor& tokens, const at::Tensor& previous, std::int64_t buckets) {
  constexpr std::int64_t kCurrent = 36313, kPrevious = 27191;
  const auto last = tokens.size(1) - 1;
  const auto hashed = [&](const at::Tensor& current, const at::Tensor& before) {
    return current.mul(kCurrent).bitwise_xor(before.mul(kPrevious)).remainder(buckets - 1);
  };
  const auto first = previous.defined() ? hashed(tokens.narrow(1, 0, 1), previous)
                                        : at::full({tokens.size(0), 1}, buckets - 1, tokens.options());
  return at::cat({first, hashed(tokens.narrow(1, 1, last), tokens.narrow(1, 0, last))}, 1);
}

at::Tensor input_stream(const Config& config, const Weights& weights, const at::Tensor& tokens, InputPast* past,
                        caddie::LinearObserver* observer) {
  const auto plain = embedded(config, weights, tokens, past, observer);
  const auto x = config.smear == Smear::none ? plain : smeared(config, weights, tokens, plain, past);
  if (past != nullptr) {
    const auto last = tokens.size(1) - 1;
    past->token = tokens.narrow(1, last, 1);
    if (config.smear != Smear::none) past->stream = plain.narrow(1, last, 1);
  }
  return x;
}

}  // namespace unet_gpt
