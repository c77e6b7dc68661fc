#include "core/ops/composed.h"

#include <ATen/ops/embedding.h>

namespace caddie::ops::composed {

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& w, const at::Tensor& cos,
                          const at::Tensor& sin, std::int64_t from) {
  const auto mixed = residual_mix(x, x0, w.mix);
  const auto qkv = linear_stacked(rms_norm(mixed), {w.query, w.key, w.value}, w.qkv_compute);
  const auto attended = self_attention(qkv, cos, sin, w.gain, w.kv_heads, w.exclude);
  const auto wanted = [&](const at::Tensor& t) { return from == 0 ? t : t.narrow(1, from, t.size(1) - from); };
  return scaled_add(wanted(mixed), linear(wanted(attended), w.output, w.output_compute), w.scale);
}

at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, std::int64_t position, bool exclude) {
  const auto batch = qkv.size(0), length = qkv.size(1), heads = gain.size(0), kv_heads = keys.size(2), head = keys.size(3);
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return qkv.narrow(-1, first * head, count * head).view({batch, length, count, head});
  };
  const auto v = part(heads + kv_heads, kv_heads);
  keys.narrow(1, position, length).copy_(norm_rope_gain(part(heads, kv_heads), cos, sin, {}));
  values.narrow(1, position, length).copy_(v);
  const auto seen = position + length;
  auto y = attention(norm_rope_gain(part(0, heads), cos, sin, gain), keys.narrow(1, 0, seen), values.narrow(1, 0, seen));
  if (exclude) y = exclude_self(y, v);
  return y.reshape({batch, length, heads * head});
}

at::Tensor cached_attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& w, const at::Tensor& cos,
                                 const at::Tensor& sin, const at::Tensor& keys, const at::Tensor& values,
                                 const at::Tensor& position) {
  const auto mixed = residual_mix(x, x0, w.mix);
  const auto qkv = linear_stacked(rms_norm(mixed), {w.query, w.key, w.value}, w.qkv_compute);
  const auto attended = ops::cached_attention(qkv, cos, sin, w.gain, keys, values, position, w.exclude);
  return scaled_add(mixed, linear(attended, w.output, w.output_compute), w.scale);
}

at::Tensor head_logits(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, double cap) {
  const auto products = linear(rms_norm(x), embedding, compute).to(at::kFloat);
  return cap == 0 ? products : products.div(cap).tanh().mul(cap);
}

at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& w) {
  const auto activated = squared_leaky_relu(linear(rms_norm(x), w.up, w.up_compute), w.slope);
  return scaled_add(x, linear(activated, w.down, w.down_compute), w.scale);
}

at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type) {
  // Rounding the rows after the lookup gives the rows of the rounded embedding.
  return rms_norm(at::embedding(embedding, tokens).to(type));
}

}  // namespace caddie::ops::composed
