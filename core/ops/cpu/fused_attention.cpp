// Autograd of the attention half of a block (simd/attention_half.h).
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/glue.h"

namespace caddie::ops::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Inputs {
  at::Tensor x, x0, mix, qkv, output, gain, scale, cos, sin;
  std::int64_t kv_heads;
  bool exclude;
};
struct Kept {
  at::Tensor rotated, attended, norm, head_norm, log_sum, removed;
};

void describe(Attention& a, const Inputs& in) {
  a.batch = in.x.size(0);
  a.length = in.x.size(1);
  a.width = in.x.size(2);
  a.heads = in.gain.size(0);
  a.kv_heads = in.kv_heads;
  a.head = in.output.size(1) / a.heads;
  a.exclude = in.exclude;
  a.x = bytes(in.x);
  a.x0 = bytes(in.x0);
  a.mix = floats(in.mix);
  a.qkv = bytes(in.qkv);
  a.output = bytes(in.output);
  a.gain = floats(in.gain);
  a.scale = floats(in.scale);
  a.cos = floats(in.cos);
  a.sin = floats(in.sin);
}

void describe(Attention& a, const Kept& kept) {
  a.rotated = bytes_of(kept.rotated);
  a.attended = bytes_of(kept.attended);
  a.norm = floats_of(kept.norm);
  a.head_norm = floats_of(kept.head_norm);
  a.log_sum = floats_of(kept.log_sum);
  if (kept.removed.defined()) a.removed = floats_of(kept.removed);
}

void make_room(const Attention& a, at::ScalarType type, Kept& kept) {
  kept.rotated = pooled({a.batch, a.length, (a.heads + 2 * a.kv_heads) * a.head}, type);
  kept.attended = pooled({a.batch, a.length, a.heads * a.head}, type);
  kept.norm = pooled({a.batch, a.length}, at::kFloat);
  kept.head_norm = pooled({a.batch, a.length, a.heads + a.kv_heads}, at::kFloat);
  kept.log_sum = pooled({a.batch, a.heads, a.length}, at::kFloat);
  if (a.exclude) kept.removed = pooled({a.batch, a.heads, a.length}, at::kFloat);
}

at::Tensor run_forward(const Inputs& in, Kept& kept, std::int64_t from = 0) {
  AttentionForward a{};
  describe(a, in);
  a.from = from;
  const auto type = in.x.scalar_type();
  make_room(a, type, kept);
  describe(a, kept);
  const auto out = pooled({a.batch, a.length - from, a.width}, type);
  a.out = bytes_of(out);
  kernels().attention_forward(common_for(type), a);
  return out;
}

class AttentionHalfFunction : public torch::autograd::Function<AttentionHalfFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix,
                            const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const at::Tensor& output,
                            const at::Tensor& gain, const at::Tensor& scale, const at::Tensor& qkv_copy,
                            const at::Tensor& output_copy, const at::Tensor& cos, const at::Tensor& sin, std::int64_t kv_heads,
                            bool exclude) {
    (void)query, (void)key, (void)value, (void)output;
    Kept kept;
    const auto out = run_forward({x, x0, mix, qkv_copy, output_copy, gain, scale, cos, sin, kv_heads, exclude}, kept);
    context->save_for_backward({x, x0, mix, qkv_copy, output_copy, gain, scale, cos, sin, kept.rotated, kept.attended,
                                kept.norm, kept.head_norm, kept.log_sum, kept.removed});
    context->saved_data["kv_heads"] = kv_heads;
    context->saved_data["exclude"] = exclude;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto s = context->get_saved_variables();
    const Inputs in{s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], context->saved_data["kv_heads"].toInt(),
                    context->saved_data["exclude"].toBool()};
    const auto gradient = gradients[0].contiguous();
    const auto type = in.x.scalar_type();
    AttentionBackward a{};
    describe(a, in);
    describe(a, Kept{s[9], s[10], s[11], s[12], s[13], s[14]});
    a.gradient = bytes(gradient);
    const auto of_x = pooled(in.x.sizes(), type), of_x0 = pooled(in.x.sizes(), type);
    const auto of_rotated = pooled(s[9].sizes(), type), of_attended = pooled(s[10].sizes(), type);
    const auto of_mix = at::empty_like(in.mix), of_gain = at::empty_like(in.gain), of_scale = at::empty_like(in.scale);
    const auto matrix = [&](std::int64_t rows) { return at::empty({rows, a.width}, at::kFloat); };
    const auto of_query = matrix(a.heads * a.head), of_key = matrix(a.kv_heads * a.head), of_value = matrix(a.kv_heads * a.head);
    const auto of_output = at::empty_like(in.output, at::kFloat);
    a.x_gradient = bytes_of(of_x);
    a.x0_gradient = bytes_of(of_x0);
    a.rotated_gradient = bytes_of(of_rotated);
    a.attended_gradient = bytes_of(of_attended);
    a.mix_gradient = floats_of(of_mix);
    a.gain_gradient = floats_of(of_gain);
    a.scale_gradient = floats_of(of_scale);
    a.query_gradient = floats_of(of_query);
    a.key_gradient = floats_of(of_key);
    a.value_gradient = floats_of(of_value);
    a.output_gradient = floats_of(of_output);
    kernels().attention_backward(common_for(type), a);
    const at::Tensor none;
    return {of_x, of_x0, of_mix, of_query, of_key, of_value, of_output, of_gain, of_scale, none, none, none, none, none, none};
  }
};

}  // namespace

at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& w, const at::Tensor& cos,
                          const at::Tensor& sin, std::int64_t from) {
  CADDIE_CHECK(x.dim() == 3 && x.sizes() == x0.sizes() && x.scalar_type() == x0.scalar_type(), ErrorKind::failed,
               "attention_half takes x and x0 of one shape [B, T, D] and type, not ", x.sizes(), " and ", x0.sizes());
  const auto width = x.size(2), heads = w.gain.size(0), head = 2 * cos.size(1);
  CADDIE_CHECK(cos.size(0) == x.size(1) && sin.sizes() == cos.sizes() && w.kv_heads > 0 && heads % w.kv_heads == 0,
               ErrorKind::failed, "attention_half: tables ", cos.sizes(), " and ", w.kv_heads, " key/value heads do not fit ",
               x.sizes(), " and ", heads, " heads");
  const auto qkv = compute_copy(w.qkv_compute, x), output = compute_copy(w.output_compute, x);
  check_matrix(w.query, qkv, (heads + 2 * w.kv_heads) * head, width, "attention_half");
  check_matrix(w.output, output, width, heads * head, "attention_half");
  const auto rows = x.contiguous(), rows0 = x0.contiguous(), mix = w.mix.contiguous(), gain = w.gain.contiguous();
  const auto scale = w.scale.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous();
  if (!at::GradMode::is_enabled()) {
    Kept kept;
    return run_forward({rows, rows0, mix, qkv, output, gain, scale, cosines, sines, w.kv_heads, w.exclude}, kept, from);
  }
  const auto all = AttentionHalfFunction::apply(rows, rows0, mix, w.query, w.key, w.value, w.output, gain, scale, qkv, output,
                                                cosines, sines, w.kv_heads, w.exclude);
  return from == 0 ? all : all.narrow(1, from, x.size(1) - from);
}

at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                          std::int64_t kv_heads, bool exclude) {
  Attention a{};
  a.batch = qkv.size(0);
  a.length = qkv.size(1);
  a.heads = gain.size(0);
  a.kv_heads = kv_heads;
  a.head = 2 * cos.size(1);
  a.exclude = exclude;
  CADDIE_CHECK(qkv.dim() == 3 && qkv.size(2) == (a.heads + 2 * kv_heads) * a.head && cos.size(0) == a.length, ErrorKind::failed,
               "self_attention: ", qkv.sizes(), " does not hold ", a.heads, " queries and ", kv_heads, " keys and values of ",
               a.head, " channels for ", cos.size(0), " positions");
  const auto rows = qkv.contiguous(), gains = gain.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous();
  a.gain = floats(gains);
  a.cos = floats(cosines);
  a.sin = floats(sines);
  Kept kept;
  make_room(a, qkv.scalar_type(), kept);
  describe(a, kept);
  kernels().self_attention(common_for(qkv.scalar_type()), a, bytes(rows));
  return kept.attended;
}

}  // namespace caddie::ops::cpu
