// The public ops: a fast kernel where there is one for the device and type, else the oracle or the sequence of smaller ops.
#include <ATen/core/grad_mode.h>

#include <atomic>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/ops/composed.h"
#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/kernels.h"
#include "core/ops/reference/reference.h"

namespace caddie::ops {
namespace {
std::atomic<bool> oracles_only{false};
bool fast(const at::Tensor& x) { return !oracles_only && cpu::usable(x); }
bool fast_without_gradient(const at::Tensor& x) { return fast(x) && !at::GradMode::is_enabled(); }
}  // namespace

void use_oracles(bool on) { oracles_only = on; }
bool using_oracles() { return oracles_only; }

std::string kernels(at::Device device, at::ScalarType) {
  if (oracles_only) return "oracle";
  if (device.is_cpu()) return std::string("fused ") + cpu::kernels().name;
  return "oracle";
}

bool cpu::usable(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0;
}

at::Tensor rms_norm(const at::Tensor& x) {
  if (fast_without_gradient(x)) return cpu::rms_norm(x);
  return reference::rms_norm(x);
}

at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix) {
  if (fast_without_gradient(x)) return cpu::residual_mix(x, x0, mix);
  return reference::residual_mix(x, x0, mix);
}

at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  if (fast(x)) return cpu::scaled_add(x, y, scale);
  return reference::scaled_add(x, y, scale);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& compute) {
  return reference::linear(x, weight, compute);
}

at::Tensor linear_stacked(const at::Tensor& x, at::TensorList weights, const at::Tensor& compute) {
  return reference::linear_stacked(x, weights, compute);
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) { return reference::rope(x, cos, sin); }

at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain) {
  if (fast_without_gradient(x)) return cpu::norm_rope_gain(x, cos, sin, gain);
  return reference::norm_rope_gain(x, cos, sin, gain);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (fast_without_gradient(q)) return cpu::attention(q, k, v);
  return reference::attention(q, k, v);
}

at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v) {
  if (fast_without_gradient(y)) return cpu::exclude_self(y, v);
  return reference::exclude_self(y, v);
}

at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                          std::int64_t kv_heads, bool exclude) {
  if (fast_without_gradient(qkv)) return cpu::self_attention(qkv, cos, sin, gain, kv_heads, exclude);
  return reference::self_attention(qkv, cos, sin, gain, kv_heads, exclude);
}

at::Tensor squared_leaky_relu(const at::Tensor& x, double slope) {
  if (fast_without_gradient(x)) return cpu::squared_leaky_relu(x, slope);
  return reference::squared_leaky_relu(x, slope);
}

at::Tensor softcap_cross_entropy(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                 const at::Tensor& targets, double cap) {
  if (fast(x)) return cpu::head_nats(x, embedding, compute, targets, cap, /*normed=*/false);
  return reference::softcap_cross_entropy(x, embedding, compute, targets, cap);
}

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                          const at::Tensor& sin, std::int64_t from) {
  CADDIE_CHECK(from >= 0 && from < x.size(1), ErrorKind::failed, "attention_half: no position of ", x.size(1), " is left from ", from);
  if (fast(x)) return cpu::attention_half(x, x0, weights, cos, sin, from);
  return composed::attention_half(x, x0, weights, cos, sin, from);
}

at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights) {
  if (fast(x)) return cpu::mlp_half(x, weights);
  return composed::mlp_half(x, weights);
}

at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap) {
  if (fast(x)) return cpu::head_nats(x, embedding, compute, targets, cap, /*normed=*/true);
  return reference::softcap_cross_entropy(rms_norm(x), embedding, compute, targets, cap);
}

at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap) {
  if (fast(x)) return cpu::head_loss(x, embedding, compute, targets, cap);
  return head_nats(x, embedding, compute, targets, cap).mean();
}

at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type) {
  if (fast(embedding)) return cpu::embed_norm(tokens, embedding, type);
  return composed::embed_norm(tokens, embedding, type);
}

at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits) {
  if (fast(weight) && weight.scalar_type() == at::kFloat && bits >= 2 && bits <= 8) return cpu::fake_quantize_rows(weight, bits);
  return reference::fake_quantize_rows(weight, bits);
}

}  // namespace caddie::ops
