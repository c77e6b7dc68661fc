// Oracles of the ops inside attention: rotation, q/k norm with gain, causal softmax attention with grouped keys and
// values, exclusive self attention (reference section 2). The whole score matrix [B, H, T, T] is made.
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <cmath>
#include <limits>

#include "caddie/ops.h"
#include "core/ops/reference/reference.h"

namespace caddie::ops::reference {
namespace {

// cos, sin [T, h/2] -> [T, 1, h/2], to be broadcast over batch and heads.
at::Tensor over_heads(const at::Tensor& table) { return table.unsqueeze(1); }

at::Tensor rotate(const at::Tensor& wide, const at::Tensor& cos, const at::Tensor& sin) {
  const auto half = wide.size(-1) / 2;
  const auto a = wide.narrow(-1, 0, half), b = wide.narrow(-1, half, half);
  const auto c = over_heads(cos), s = over_heads(sin);
  return at::cat({a.mul(c).add(b.mul(s)), b.mul(c).sub(a.mul(s))}, -1);
}

}  // namespace

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return rotate(x.to(at::kFloat), cos, sin).to(x.scalar_type());
}

at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain) {
  auto rotated = rotate(rms_norm(x.to(at::kFloat)), cos, sin);
  if (gain.defined()) rotated = rotated.mul(gain.unsqueeze(-1));
  return rotated.to(x.scalar_type());
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto queries = q.size(1), positions = k.size(1), group = q.size(2) / k.size(2);
  const auto heads_first = [](const at::Tensor& x) { return x.to(at::kFloat).transpose(1, 2); };  // [B, n, T, h]
  const auto keys = heads_first(k).repeat_interleave(group, 1), values = heads_first(v).repeat_interleave(group, 1);
  const auto scores = at::matmul(heads_first(q), keys.transpose(-1, -2)).div(std::sqrt(static_cast<double>(q.size(3))));
  const auto future = at::ones({queries, positions}, q.options().dtype(at::kBool)).triu(positions - queries + 1);
  const auto weights = scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1);
  return at::matmul(weights, values).transpose(1, 2).to(q.scalar_type());
}

at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v) {
  const auto wide = y.to(at::kFloat), values = v.to(at::kFloat);
  const auto length = at::linalg_vector_norm(values, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(1e-12);
  const auto unit = values.div(length).repeat_interleave(y.size(2) / v.size(2), 2);  // [B, T, H, h]
  return wide.sub(wide.mul(unit).sum(-1, /*keepdim=*/true).mul(unit)).to(y.scalar_type());
}

at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                          std::int64_t kv_heads, bool exclude) {
  const auto batch = qkv.size(0), length = qkv.size(1), heads = gain.size(0), head = 2 * cos.size(1);
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return qkv.narrow(-1, first * head, count * head).view({batch, length, count, head});
  };
  const auto q = norm_rope_gain(part(0, heads), cos, sin, gain);
  const auto k = norm_rope_gain(part(heads, kv_heads), cos, sin, {});
  const auto v = part(heads + kv_heads, kv_heads);
  auto y = attention(q, k, v);
  if (exclude) y = exclude_self(y, v);
  return y.reshape({batch, length, heads * head});
}

}  // namespace caddie::ops::reference
