// The ops of single rows and heads on a CUDA device: with gradients where training needs them, plain where scoring and
// generation do.
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::int64_t rows_of(const at::Tensor& x) { return x.numel() / x.size(-1); }

at::Tensor run_scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  const auto out = at::empty_like(x);
  scaled_add(launch_for(x.scalar_type()), ScaledAdd{rows_of(x), x.size(-1), bytes(x), bytes(y), floats(scale), bytes_of(out)});
  check_launches();
  return out;
}

class ScaledAddFunction : public torch::autograd::Function<ScaledAddFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
    context->save_for_backward({y, scale});
    return run_scaled_add(x, y, scale);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &y = saved[0], &scale = saved[1], gradient = gradients[0].contiguous();
    const auto of_y = at::empty_like(y), of_scale = at::empty_like(scale), partials = new_floats({kPartials, y.size(-1)}, y);
    scaled_add_backward(launch_for(y.scalar_type()), {rows_of(y), y.size(-1), bytes(y), bytes(gradient), floats(scale),
                                                      bytes_of(of_y), floats_of(of_scale), floats_of(partials)});
    check_launches();
    return {gradient, of_y, of_scale};
  }
};

at::Tensor run_embed(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type, at::Tensor* norm) {
  auto sizes = tokens.sizes().vec();
  sizes.push_back(embedding.size(1));
  const auto out = at::empty(sizes, embedding.options().dtype(type).requires_grad(false));
  if (norm != nullptr) *norm = new_floats({tokens.numel()}, embedding);
  embed(launch_for(type), {tokens.numel(), embedding.size(1), embedding.size(0), tokens.const_data_ptr<std::int64_t>(),
                           floats(embedding), bytes_of(out), norm != nullptr ? floats_of(*norm) : nullptr});
  check_launches();
  return out;
}

class EmbedFunction : public torch::autograd::Function<EmbedFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& tokens, const at::Tensor& embedding, bool bfloat16) {
    at::Tensor norm;
    const auto out = run_embed(tokens, embedding, bfloat16 ? at::kBFloat16 : at::kFloat, &norm);
    context->save_for_backward({tokens, out, norm});
    context->saved_data["vocabulary"] = embedding.size(0);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &tokens = saved[0], &out = saved[1], gradient = gradients[0].contiguous();
    const auto rows = new_floats({tokens.numel(), out.size(-1)}, out);
    embed_backward(launch_for(out.scalar_type()),
                   {tokens.numel(), out.size(-1), bytes(out), bytes(gradient), floats(saved[2]), floats_of(rows)});
    check_launches();
    return {at::Tensor(),
            at::embedding_dense_backward(rows, tokens.reshape({-1}), context->saved_data["vocabulary"].toInt(), -1, false),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  const auto rows = x.contiguous(), other = y.contiguous(), factors = scale.contiguous();
  if (!at::GradMode::is_enabled()) return run_scaled_add(rows, other, factors);
  return ScaledAddFunction::apply(rows, other, factors);
}

at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type) {
  const auto ids = tokens.contiguous(), table = embedding.contiguous();
  if (!at::GradMode::is_enabled()) return run_embed(ids, table, type, nullptr);
  return EmbedFunction::apply(ids, table, type == at::kBFloat16);
}

at::Tensor rms_norm(const at::Tensor& x) {
  const auto rows = x.contiguous(), out = at::empty_like(rows);
  row_norm(launch_for(x.scalar_type()), {rows_of(rows), rows.size(-1), bytes(rows), nullptr, bytes_of(out), nullptr});
  check_launches();
  return out;
}

at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix) {
  const auto rows = x.contiguous(), other = x0.contiguous(), factors = mix.contiguous(), out = at::empty_like(rows);
  mix_norm(launch_for(x.scalar_type()),
           {rows_of(rows), rows.size(-1), bytes(rows), bytes(other), floats(factors), bytes_of(out), nullptr});
  check_launches();
  return out;
}

at::Tensor squared_leaky_relu(const at::Tensor& x, double slope) {
  const auto rows = x.contiguous(), out = at::empty_like(rows);
  activate(launch_for(x.scalar_type()), {rows_of(rows), rows.size(-1), bytes(rows), nullptr, static_cast<float>(slope),
                                         bytes_of(out), nullptr});
  check_launches();
  return out;
}

at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain) {
  const auto out = x.clone(at::MemoryFormat::Contiguous);
  const auto cosines = cos.contiguous(), sines = sin.contiguous();
  const auto gains = gain.defined() ? gain.contiguous() : gain;
  heads_forward(launch_for(x.scalar_type()), {x.size(0) * x.size(1), x.size(1), x.size(2), 0, x.size(3), bytes_of(out), nullptr,
                                              floats(cosines), floats(sines), floats(gains), nullptr});
  check_launches();
  return out;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) { return attend(q, k, v, false).values; }

at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v) {
  const auto rows = y.contiguous(), values = v.contiguous(), out = at::empty_like(rows);
  exclude(launch_for(y.scalar_type()), {y.size(0) * y.size(1), y.size(2), v.size(2), y.size(3), v.size(2) * v.size(3),
                                        bytes(rows), bytes(values), bytes_of(out)});
  check_launches();
  return out;
}

bool decode_usable(const at::Tensor& qkv, std::int64_t heads, std::int64_t kv_heads, std::int64_t head) {
  return usable_elements(qkv) && qkv.size(1) == 1 && decode_fits(heads, kv_heads, head);
}

at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, std::int64_t position, bool exclude) {
  CADDIE_CHECK(keys.is_contiguous() && values.is_contiguous() && keys.scalar_type() == qkv.scalar_type(), ErrorKind::failed,
               "cached_attention needs dense caches of the type of qkv");
  const auto rows = qkv.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous(), gains = gain.contiguous();
  const auto heads = gain.size(0), kv_heads = keys.size(2), head = keys.size(3);
  const auto out = new_like({qkv.size(0), 1, heads * head}, qkv);
  decode(launch_for(qkv.scalar_type()), {qkv.size(0), keys.size(1), position, heads, kv_heads, head, bytes(rows), floats(cosines),
                                         floats(sines), floats(gains), bytes_of(keys), bytes_of(values), bytes_of(out), exclude});
  check_launches();
  return out;
}

at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits) {
  const auto rows = weight.detach().contiguous(), out = at::empty_like(rows);
  const auto top = static_cast<float>((1 << (bits - 1)) - 1);
  fake_quantize(launch_for(at::kFloat), {rows_of(rows), rows.size(-1), floats(rows), top, floats_of(out)});
  check_launches();
  return out;
}

}  // namespace caddie::ops::cuda
