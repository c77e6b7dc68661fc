// Autograd of the attention half of a block on a CUDA device. Norms are never written: a product of raw rows times their
// 1 / rms is the product of normed rows, and queries, keys and values are made from it in registers, or in place. The output's projection
// has the channels' scales in its weights and adds to the residual stream in place, inside the matrix product.
// Kept for backward, elements a position: x, q, k, v, what attention gave (and that after exclusion): 4 to 5 D. The mix is made
// again from x and x0 by the kernel that differentiates it.
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Inputs {
  at::Tensor x, x0;  // [B, T, D]
  at::Tensor mix, qkv, output, gain, scale, cos, sin;
  std::int64_t kv_heads;
  bool exclude;

  std::int64_t batch() const { return x.size(0); }
  std::int64_t length() const { return x.size(1); }
  std::int64_t width() const { return x.size(2); }
  std::int64_t rows() const { return batch() * length(); }
  std::int64_t heads() const { return gain.size(0); }
  std::int64_t head() const { return 2 * cos.size(1); }
};
struct Kept {
  at::Tensor norm, qkv, head_norm, attended, scaled_output;  // attended: after exclusion [rows, H h]
  Attended core;
};

// Heads [first, first + count) of qkv as [B, T, count, h].
at::Tensor part(const at::Tensor& qkv, const Inputs& in, std::int64_t first, std::int64_t count) {
  return qkv.narrow(1, first * in.head(), count * in.head()).view({in.batch(), in.length(), count, in.head()});
}

// Attention of qkv [batch length, (heads + 2 kv_heads) head] after norms, rotation and gain, for all positions or those from `from` on.
Attended attend_heads(const at::Tensor& qkv, const at::Tensor& gain, std::int64_t batch, std::int64_t length, std::int64_t kv_heads,
                      std::int64_t head, std::int64_t from, bool for_backward) {
  const auto launch = launch_for(qkv.scalar_type());
  const auto heads = gain.size(0);
  if (from == 0 && attend_forward_fits(launch, length, heads, kv_heads, head)) {
    Attended result;
    result.kernel = kOwnAttention;
    result.values = new_like({batch, length, heads, head}, qkv);
    if (for_backward) result.log_sum = new_floats({batch, heads, length}, qkv);
    attend_forward(launch, {batch, length, heads, kv_heads, bytes(qkv), floats(gain), bytes_of(result.values), floats_of(result.log_sum)});
    return result;
  }
  const auto heads_at = [&](std::int64_t first, std::int64_t count) {
    return qkv.narrow(-1, first * head, count * head).view({batch, length, count, head});
  };
  return attend(heads_at(0, heads).narrow(1, from, length - from), heads_at(heads, kv_heads), heads_at(heads + kv_heads, kv_heads), for_backward);
}

// Elements from row to row of v [B, T, K, h], rows at one distance from each other. The stride of a dimension of one position says
// nothing.
std::int64_t row_stride(const at::Tensor& v) { return v.size(1) > 1 ? v.stride(1) : v.stride(0); }

at::Tensor excluded(const at::Tensor& values, const at::Tensor& v, std::int64_t rows, std::int64_t kv_heads) {
  const auto heads = values.size(2), head = values.size(3);
  const auto out = new_like({rows, heads * head}, values);
  exclude(launch_for(values.scalar_type()), {rows, heads, kv_heads, head, row_stride(v), bytes(values), bytes(v), bytes_of(out)});
  return out;
}

at::Tensor run_forward(const Inputs& in, Kept& kept, std::int64_t from, bool for_backward) {
  const auto type = in.x.scalar_type();
  const auto launch = launch_for(type);
  const auto rows = in.rows(), width = in.width(), all_heads = in.heads() + 2 * in.kv_heads;
  at::Tensor out = new_like({rows, width}, in.x);  // the mix, until the output's projection is added
  kept.norm = new_floats({rows}, in.x);
  mix_norm(launch, {rows, width, bytes(in.x), bytes(in.x0), floats(in.mix), bytes_of(out), floats_of(kept.norm)});
  if (for_backward) kept.head_norm = new_floats({rows, in.heads() + in.kv_heads}, in.x);
  const bool in_registers = product_heads_fit(launch, width, in.heads(), in.kv_heads, in.head());
  kept.qkv = in_registers ? new_like({rows, all_heads * in.head()}, in.x) : at::mm(out, in.qkv.t());
  const Heads heads{rows, in.length(), in.heads(), in.kv_heads, in.head(), bytes_of(kept.qkv), floats(kept.norm),
                    floats(in.cos), floats(in.sin), floats(in.gain), floats_of(kept.head_norm)};
  if (in_registers)
    product_heads(launch, {rows, width, all_heads * in.head(), bytes(out), bytes(in.qkv)}, heads);
  else
    heads_forward(launch, heads);
  const auto v = part(kept.qkv, in, all_heads - in.kv_heads, in.kv_heads);
  const auto wanted = in.length() - from;
  kept.core = attend_heads(kept.qkv, in.gain, in.batch(), in.length(), in.kv_heads, in.head(), from, for_backward);

  const auto value_width = in.heads() * in.head();
  if (from == 0) {
    kept.attended = in.exclude ? excluded(kept.core.values, v, rows, in.kv_heads) : kept.core.values.view({rows, value_width});
  } else {
    const auto own = in.exclude ? excluded(kept.core.values, v.narrow(1, from, wanted).contiguous(), in.batch() * wanted, in.kv_heads)
                                : kept.core.values;
    kept.attended = own.view({in.batch() * wanted, value_width});
    out = out.view({in.batch(), in.length(), width}).narrow(1, from, wanted).reshape({in.batch() * wanted, width});
  }
  kept.scaled_output = at::empty_like(in.output);
  scale_rows(launch, {width, value_width, bytes(in.output), floats(in.scale), bytes_of(kept.scaled_output)});
  out.addmm_(kept.attended, kept.scaled_output.t());
  check_launches();
  return out.view({in.batch(), wanted, width});
}

struct Gradients {
  at::Tensor x, x0, mix, query, key, value, output, gain, scale;
};

// From the gradient of what was attended to that of the product of queries, keys and values, times norm once more. more_value: a
// gradient of the values from elsewhere, or undefined.
at::Tensor through_attention(const Inputs& in, const Kept& kept, at::Tensor of_attended, const at::Tensor& more_value, at::Tensor& gain,
                             at::Tensor& partials) {
  const auto launch = launch_for(in.x.scalar_type());
  const auto rows = in.rows(), heads = in.heads(), head = in.head(), kv_heads = in.kv_heads;
  const auto product = at::empty_like(kept.qkv);
  HeadsBackward last{rows, in.length(), heads, kv_heads, head, bytes(kept.qkv), nullptr, nullptr, nullptr, bytes(more_value),
                     floats(kept.norm), floats(kept.head_norm), floats(in.cos), floats(in.sin), floats(in.gain), bytes_of(product),
                     floats_of(gain), floats_of(partials)};
  if (kept.core.log_sum.defined() && attend_backward_fits(launch, in.length(), heads, kv_heads, head)) {
    const auto query_sums = new_floats({rows, heads * head}, in.x), statistics = new_floats({2, in.batch(), heads, in.length()}, in.x);
    const auto log_sum = kept.core.log_sum.contiguous();
    attend_backward(launch, {in.batch(), in.length(), heads, kv_heads, bytes(kept.qkv), bytes(kept.core.values), bytes(of_attended),
                             floats(log_sum), floats_of(statistics), floats_of(query_sums), last.more_value, last.norm,
                             last.head_norm, last.cos, last.sin, last.product});
    last.query_sums = floats(query_sums);
    heads_backward(launch, last);
    return product;
  }
  const auto q = part(kept.qkv, in, 0, heads), k = part(kept.qkv, in, heads, kv_heads);
  const auto v = part(kept.qkv, in, heads + kv_heads, kv_heads);
  const auto of = attend_backward(of_attended.view({in.batch(), in.length(), heads, head}), q, k, v, kept.core);
  last.query = bytes(of.q), last.key = bytes(of.k), last.value = bytes(of.v);
  heads_backward(launch, last);
  return product;
}

// more0: a gradient of x0 from elsewhere, or undefined.
Gradients run_backward(const Inputs& in, Kept& kept, const at::Tensor& gradient, const at::Tensor& more0) {
  const auto launch = launch_for(in.x.scalar_type());
  const auto rows = in.rows(), width = in.width(), heads = in.heads(), head = in.head(), kv_heads = in.kv_heads;
  Gradients result;
  const auto v = part(kept.qkv, in, heads + kv_heads, kv_heads);
  at::Tensor of_attended = at::mm(gradient, kept.scaled_output);  // [rows, H h]
  result.output = weight_product(gradient, kept.attended);
  result.scale = at::empty_like(in.scale);
  scaled_weight_backward(launch, {width, heads * head, bytes(in.output), floats(in.scale), floats_of(result.output),
                                  floats_of(result.scale)});
  at::Tensor more_value;
  if (in.exclude) {
    more_value = new_like({rows, kv_heads * head}, in.x);
    exclude_backward(launch, {rows, heads, kv_heads, head, row_stride(v), bytes(kept.core.values), bytes(v), bytes(of_attended),
                              bytes_of(of_attended), bytes_of(more_value)});
  }
  result.gain = at::empty_like(in.gain);
  auto partials = new_floats({kPartials, std::max(2 * width, heads)}, in.x);
  const auto product = through_attention(in, kept, std::move(of_attended), more_value, result.gain, partials);
  const auto of_normed = at::mm(product, in.qkv), mixed = at::empty_like(in.x);
  result.x = at::empty_like(in.x);
  result.x0 = at::empty_like(in.x);
  result.mix = at::empty_like(in.mix);
  mix_backward(launch, {rows, width, bytes(gradient), bytes(of_normed), bytes(in.x), bytes(in.x0), bytes(more0),
                        floats(kept.norm), floats(in.mix), bytes_of(mixed), bytes_of(result.x), bytes_of(result.x0),
                        floats_of(result.mix), floats_of(partials)});
  const auto of_qkv = weight_product(product, mixed.view({rows, width}));
  result.query = of_qkv.narrow(0, 0, heads * head);
  result.key = of_qkv.narrow(0, heads * head, kv_heads * head);
  result.value = of_qkv.narrow(0, (heads + kv_heads) * head, kv_heads * head);
  check_launches();
  return result;
}

// Gives x0 once more: gradients of x0 from whoever goes on with that one are added inside the kernel.
class AttentionHalfFunction : public torch::autograd::Function<AttentionHalfFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix,
                               const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const at::Tensor& output,
                               const at::Tensor& gain, const at::Tensor& scale, const at::Tensor& qkv_copy,
                               const at::Tensor& output_copy, const at::Tensor& cos, const at::Tensor& sin,
                               std::int64_t kv_heads, bool exclude) {
    (void)query, (void)key, (void)value, (void)output;
    Kept kept;
    const auto out = run_forward({x, x0, mix, qkv_copy, output_copy, gain, scale, cos, sin, kv_heads, exclude}, kept, 0, true);
    context->set_materialize_grads(false);
    context->save_for_backward({x, x0, mix, qkv_copy, output_copy, gain, scale, cos, sin, kept.norm, kept.qkv, kept.head_norm,
                                kept.attended, kept.scaled_output, kept.core.values, kept.core.output, kept.core.log_sum,
                                kept.core.seed, kept.core.offset});
    context->saved_data["kv_heads"] = kv_heads;
    context->saved_data["exclude"] = exclude;
    context->saved_data["kernel"] = static_cast<std::int64_t>(kept.core.kernel);
    context->saved_data["most_queries"] = kept.core.most_queries;
    context->saved_data["most_keys"] = kept.core.most_keys;
    return {out, x0};
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor none;
    if (!gradients[0].defined()) {  // only x0 went on
      variable_list nothing(15);
      nothing[1] = gradients[1];
      return nothing;
    }
    const auto s = context->get_saved_variables();
    const Inputs in{s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], context->saved_data["kv_heads"].toInt(),
                    context->saved_data["exclude"].toBool()};
    Kept kept{s[9], s[10], s[11], s[12], s[13],
              {s[14], s[15], s[16], s[17], s[18], context->saved_data["most_queries"].toInt(),
               context->saved_data["most_keys"].toInt(), static_cast<int>(context->saved_data["kernel"].toInt())}};
    const auto more0 = gradients[1].defined() ? gradients[1].contiguous() : none;
    const auto g = run_backward(in, kept, gradients[0].contiguous().view({in.rows(), in.width()}), more0);
    return {g.x, g.x0, g.mix, g.query, g.key, g.value, g.output, g.gain, g.scale, none, none, none, none, none, none};
  }
};

}  // namespace

Passed attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& w, const at::Tensor& cos,
                      const at::Tensor& sin, std::int64_t from) {
  CADDIE_CHECK(x.dim() == 3 && x.sizes() == x0.sizes() && x.scalar_type() == x0.scalar_type(), ErrorKind::failed,
               "attention_half takes x and x0 of one shape [B, T, D] and type, not ", x.sizes(), " and ", x0.sizes());
  const auto width = x.size(2), heads = w.gain.size(0), head = 2 * cos.size(1);
  CADDIE_CHECK(cos.size(0) == x.size(1) && sin.sizes() == cos.sizes() && w.kv_heads > 0 && heads % w.kv_heads == 0,
               ErrorKind::failed, "attention_half: tables ", cos.sizes(), " and ", w.kv_heads, " key/value heads do not fit ",
               x.sizes(), " and ", heads, " heads");
  const auto qkv = compute_copy(w.qkv_compute, x), output = compute_copy(w.output_compute, x);
  check_matrix(qkv, (heads + 2 * w.kv_heads) * head, width, "attention_half");
  check_matrix(output, width, heads * head, "attention_half");
  const auto rows = x.contiguous(), rows0 = x0.contiguous(), mix = w.mix.contiguous(), gain = w.gain.contiguous();
  const auto scale = w.scale.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous();
  if (!at::GradMode::is_enabled()) {
    Kept kept;
    return {run_forward({rows, rows0, mix, qkv, output, gain, scale, cosines, sines, w.kv_heads, w.exclude}, kept, from, false), x0};
  }
  const auto all = AttentionHalfFunction::apply(rows, rows0, mix, w.query, w.key, w.value, w.output, gain, scale, qkv, output,
                                                cosines, sines, w.kv_heads, w.exclude);
  return {from == 0 ? all[0] : all[0].narrow(1, from, x.size(1) - from), all[1]};
}

at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                          std::int64_t kv_heads, bool exclude_own) {
  const auto batch = qkv.size(0), length = qkv.size(1), heads = gain.size(0), head = 2 * cos.size(1);
  CADDIE_CHECK(qkv.dim() == 3 && qkv.size(2) == (heads + 2 * kv_heads) * head && cos.size(0) == length, ErrorKind::failed,
               "self_attention: ", qkv.sizes(), " does not hold ", heads, " queries and ", kv_heads, " keys and values of ", head,
               " channels for ", cos.size(0), " positions");
  const auto own = qkv.clone(at::MemoryFormat::Contiguous), gains = gain.contiguous(), cosines = cos.contiguous(),
             sines = sin.contiguous();
  heads_forward(launch_for(qkv.scalar_type()), {batch * length, length, heads, kv_heads, head, bytes_of(own), nullptr,
                                                floats(cosines), floats(sines), floats(gains), nullptr});
  const auto v = own.narrow(-1, (heads + kv_heads) * head, kv_heads * head).view({batch, length, kv_heads, head});
  const auto core = attend_heads(own, gains, batch, length, kv_heads, head, 0, false);
  const auto out = exclude_own ? excluded(core.values, v, batch * length, kv_heads) : core.values;
  check_launches();
  return out.view({batch, length, heads * head});
}

}  // namespace caddie::ops::cuda
