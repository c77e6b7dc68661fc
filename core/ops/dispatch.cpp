// The public ops: a fast kernel where there is one for the device and type, else the oracle or the sequence of smaller ops.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>

#include <atomic>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/base/sampling.h"
#include "core/ops/composed.h"
#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/kernels.h"
#include "core/ops/cuda/fused.h"
#include "core/ops/pick_next.h"
#include "core/ops/reference/reference.h"

namespace caddie::ops {
namespace {
std::atomic<bool> oracles_only{false};
bool fast(const at::Tensor& x) { return !oracles_only && cpu::usable(x); }
bool fast_without_gradient(const at::Tensor& x) { return fast(x) && !at::GradMode::is_enabled(); }

#ifdef CADDIE_CUDA_KERNELS_BUILT
constexpr bool kCuda = true;
#else
constexpr bool kCuda = false;
#endif
[[maybe_unused]] bool on_device(const at::Tensor& x) { return !oracles_only && x.is_cuda() && cuda::usable(x); }
[[maybe_unused]] bool on_device_without_gradient(const at::Tensor& x) { return on_device(x) && !at::GradMode::is_enabled(); }
[[maybe_unused]] bool heads_on_device(const at::Tensor& x, std::int64_t heads, std::int64_t kv_heads, std::int64_t head) {
  return !oracles_only && x.is_cuda() && cuda::usable_elements(x) && cuda::heads_usable(heads, kv_heads, head);
}
[[maybe_unused]] bool heads_on_device_without_gradient(const at::Tensor& x, std::int64_t heads, std::int64_t kv_heads, std::int64_t head) {
  return !at::GradMode::is_enabled() && heads_on_device(x, heads, kv_heads, head);
}
}  // namespace

void use_oracles(bool on) { oracles_only = on; }
bool using_oracles() { return oracles_only; }

std::string kernels(at::Device device, at::ScalarType) {
  if (oracles_only) return "oracle";
  if (device.is_cpu()) return std::string("fused ") + cpu::kernels().name;
  if (kCuda && device.is_cuda()) return "fused cuda";
  return "oracle";
}

bool cpu::usable(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0;
}

at::Tensor rms_norm(const at::Tensor& x) {
  if (fast_without_gradient(x)) return cpu::rms_norm(x);
  if constexpr (kCuda) {
    if (on_device_without_gradient(x)) return cuda::rms_norm(x);
  }
  return reference::rms_norm(x);
}

at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix) {
  if (fast_without_gradient(x)) return cpu::residual_mix(x, x0, mix);
  if constexpr (kCuda) {
    if (on_device_without_gradient(x)) return cuda::residual_mix(x, x0, mix);
  }
  return reference::residual_mix(x, x0, mix);
}

at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  if (fast(x)) return cpu::scaled_add(x, y, scale);
  if constexpr (kCuda) {
    if (on_device(x)) return cuda::scaled_add(x, y, scale);
  }
  return reference::scaled_add(x, y, scale);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& compute) {
  return reference::linear(x, weight, compute);
}

at::Tensor linear_stacked(const at::Tensor& x, at::TensorList weights, const at::Tensor& compute) {
  if (!at::GradMode::is_enabled()) return at::linear(x, compute);  // nothing is asked of the weights
  return reference::linear_stacked(x, weights, compute);
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) { return reference::rope(x, cos, sin); }

at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain) {
  if (fast_without_gradient(x)) return cpu::norm_rope_gain(x, cos, sin, gain);
  if constexpr (kCuda) {
    if (heads_on_device_without_gradient(x, x.size(2), 0, x.size(3))) return cuda::norm_rope_gain(x, cos, sin, gain);
  }
  return reference::norm_rope_gain(x, cos, sin, gain);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (fast_without_gradient(q)) return cpu::attention(q, k, v);
  if constexpr (kCuda) {
    if (heads_on_device_without_gradient(q, q.size(2), k.size(2), q.size(3))) return cuda::attention(q, k, v);
  }
  return reference::attention(q, k, v);
}

at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v) {
  if (fast_without_gradient(y)) return cpu::exclude_self(y, v);
  if constexpr (kCuda) {
    if (heads_on_device_without_gradient(y, y.size(2), v.size(2), y.size(3))) return cuda::exclude_self(y, v);
  }
  return reference::exclude_self(y, v);
}

at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                          std::int64_t kv_heads, bool exclude) {
  if (fast_without_gradient(qkv)) return cpu::self_attention(qkv, cos, sin, gain, kv_heads, exclude);
  if constexpr (kCuda) {
    if (heads_on_device_without_gradient(qkv, gain.size(0), kv_heads, 2 * cos.size(1))) return cuda::self_attention(qkv, cos, sin, gain, kv_heads, exclude);
  }
  return reference::self_attention(qkv, cos, sin, gain, kv_heads, exclude);
}

at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, std::int64_t position, bool exclude) {
  const at::NoGradGuard guard;
  CADDIE_CHECK(position >= 0 && position + qkv.size(1) <= keys.size(1), ErrorKind::failed, "cached_attention: ", qkv.size(1),
               " positions from ", position, " do not fit a cache of ", keys.size(1));
  if constexpr (kCuda) {
    if (!oracles_only && qkv.is_cuda() && cuda::decode_usable(qkv, gain.size(0), keys.size(2), keys.size(3)))
      return cuda::cached_attention(qkv, cos, sin, gain, keys, values, position, exclude);
  }
  return composed::cached_attention(qkv, cos, sin, gain, keys, values, position, exclude);
}

at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, const at::Tensor& position, bool exclude) {
  const at::NoGradGuard guard;
  CADDIE_CHECK(qkv.size(1) == 1 && position.numel() == 1 && position.scalar_type() == at::kLong, ErrorKind::failed,
               "cached_attention with a position on the device takes one position, not ", qkv.sizes(), " at ", position.sizes());
  if constexpr (kCuda) {
    if (!oracles_only && qkv.is_cuda() && cuda::decode_usable(qkv, gain.size(0), keys.size(2), keys.size(3)))
      return cuda::cached_attention(qkv, cos, sin, gain, keys, values, position, exclude);
  }
  const auto at = position.item<std::int64_t>();
  CADDIE_CHECK(at >= 0 && at < keys.size(1), ErrorKind::failed, "cached_attention: position ", at, " does not fit a cache of ",
               keys.size(1));
  return composed::cached_attention(qkv, cos.narrow(0, at, 1), sin.narrow(0, at, 1), gain, keys, values, at, exclude);
}

at::Tensor cached_attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                                 const at::Tensor& sin, const at::Tensor& keys, const at::Tensor& values,
                                 const at::Tensor& position) {
  const at::NoGradGuard guard;
  if constexpr (kCuda) {
    const auto heads = weights.gain.size(0), head = keys.size(3);
    if (!oracles_only && x.is_cuda() && x.size(1) == 1 && cuda::few_rows_usable(x, {heads * head}) &&
        cuda::decode_usable(x, heads, keys.size(2), head))
      return cuda::cached_attention_half(x, x0, weights, cos, sin, keys, values, position);
  }
  return composed::cached_attention_half(x, x0, weights, cos, sin, keys, values, position);
}

at::Tensor head_logits(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, double cap) {
  const at::NoGradGuard guard;
  if constexpr (kCuda) {
    if (!oracles_only && x.is_cuda() && cuda::few_rows_usable(x, {})) return cuda::head_logits(x, compute, cap);
  }
  return composed::head_logits(x, embedding, compute, cap);
}

void pick_next(const at::Tensor& logits, const at::Tensor& levels, at::Tensor& position, double temperature,
               at::Tensor& next, at::Tensor& tokens) {
  const at::NoGradGuard guard;
  if constexpr (kCuda) {
    if (!oracles_only && logits.is_cuda()) return cuda::pick_next(logits, levels, position, temperature, next, tokens);
  }
  const auto at = position.item<std::int64_t>();
  const auto picked = pick_tokens(logits, temperature == 0 ? at::Tensor() : levels.select(0, at), Sampling{temperature, 0});
  next.copy_(picked.view_as(next));
  if (at + 1 < tokens.size(1)) tokens.select(1, at + 1).copy_(picked);
  position.add_(1);
}

std::pair<at::Tensor, at::Tensor> inverse_factor(const at::Tensor& h) {
  const at::NoGradGuard guard;
  CADDIE_CHECK(h.dim() == 3 && h.size(1) == h.size(2) && h.numel() > 0 && h.scalar_type() == at::kFloat, ErrorKind::failed,
               "inverse_factor takes float32 matrices [n, C, C], not ", h.scalar_type(), " ", h.sizes());
  if constexpr (kCuda) {
    if (!oracles_only && h.is_cuda()) return cuda::inverse_factor(h);
  }
  return reference::inverse_factor(h);
}

at::Tensor round_with_feedback(const at::Tensor& values, const at::Tensor& steps, const at::Tensor& upper, int top,
                               std::int64_t block) {
  const at::NoGradGuard guard;
  CADDIE_CHECK(values.dim() == 3 && values.numel() > 0 && steps.dim() == 2 && steps.size(0) == values.size(0) &&
                   steps.size(1) == values.size(2) && upper.dim() == 3 && upper.size(0) == values.size(0) &&
                   upper.size(1) == values.size(1) && upper.size(2) == values.size(1) && top > 0 && top < 128,
               ErrorKind::failed, "round_with_feedback: steps ", steps.sizes(), ", factors ", upper.sizes(), " and codes up to ",
               top, " do not fit values ", values.sizes());
  if constexpr (kCuda) {
    if (!oracles_only && values.is_cuda()) return cuda::round_with_feedback(values, steps, upper, top, block);
  }
  return reference::round_with_feedback(values, steps, upper, top);
}

at::Tensor squared_leaky_relu(const at::Tensor& x, double slope) {
  if (fast_without_gradient(x)) return cpu::squared_leaky_relu(x, slope);
  if constexpr (kCuda) {
    if (!oracles_only && !at::GradMode::is_enabled() && x.is_cuda() && cuda::usable_elements(x)) return cuda::squared_leaky_relu(x, slope);
  }
  return reference::squared_leaky_relu(x, slope);
}

at::Tensor softcap_cross_entropy(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                 const at::Tensor& targets, double cap) {
  if (fast(x)) return cpu::head_nats(x, embedding, compute, targets, cap, /*normed=*/false);
  if constexpr (kCuda) {
    if (on_device(x)) return cuda::head_nats(x, embedding, compute, targets, cap, /*normed=*/false);
  }
  return reference::softcap_cross_entropy(x, embedding, compute, targets, cap);
}

Passed attention_half_passing(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                              const at::Tensor& sin, std::int64_t from) {
  CADDIE_CHECK(from >= 0 && from < x.size(1), ErrorKind::failed, "attention_half: no position of ", x.size(1), " is left from ", from);
  if (fast(x)) return {cpu::attention_half(x, x0, weights, cos, sin, from), x0};
  if constexpr (kCuda) {
    if (on_device(x) && heads_on_device(x, weights.gain.size(0), weights.kv_heads, 2 * cos.size(1)))
      return cuda::attention_half(x, x0, weights, cos, sin, from);
  }
  return {composed::attention_half(x, x0, weights, cos, sin, from), x0};
}

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights, const at::Tensor& cos,
                          const at::Tensor& sin, std::int64_t from) {
  return attention_half_passing(x, x0, weights, cos, sin, from).out;
}

at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights) {
  if (fast(x)) return cpu::mlp_half(x, weights);
  if constexpr (kCuda) {
    if (on_device_without_gradient(x) && cuda::few_rows_usable(x, {weights.up.size(0)})) return cuda::few_rows_mlp_half(x, weights);
    if (on_device(x)) return cuda::mlp_half(x, weights);
  }
  return composed::mlp_half(x, weights);
}

at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap) {
  if (fast(x)) return cpu::head_nats(x, embedding, compute, targets, cap, /*normed=*/true);
  if constexpr (kCuda) {
    if (on_device(x)) return cuda::head_nats(x, embedding, compute, targets, cap, /*normed=*/true);
  }
  return reference::softcap_cross_entropy(rms_norm(x), embedding, compute, targets, cap);
}

at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap) {
  if (fast(x)) return cpu::head_loss(x, embedding, compute, targets, cap);
  if constexpr (kCuda) {
    if (on_device(x)) return cuda::head_loss(x, embedding, compute, targets, cap);
  }
  return head_nats(x, embedding, compute, targets, cap).mean();
}

at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type) {
  if (fast(embedding)) return cpu::embed_norm(tokens, embedding, type);
  if constexpr (kCuda) {
    if (on_device(embedding)) return cuda::embed_norm(tokens, embedding, type);
  }
  return composed::embed_norm(tokens, embedding, type);
}

at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits) {
  if (fast(weight) && weight.scalar_type() == at::kFloat && bits >= 2 && bits <= 8) return cpu::fake_quantize_rows(weight, bits);
  if constexpr (kCuda) {
    const bool takes = weight.is_cuda() && weight.scalar_type() == at::kFloat && weight.numel() > 0 && bits >= 2 && bits <= 8;
    if (takes && !oracles_only) return cuda::fake_quantize_rows(weight, bits);
  }
  return reference::fake_quantize_rows(weight, bits);
}

}  // namespace caddie::ops
