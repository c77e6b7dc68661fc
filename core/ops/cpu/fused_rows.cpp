// The ops of single rows that training needs with gradients: the normed embedding and the scaled addition of a skip.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/glue.h"
#include "core/ops/cpu/rows.h"

namespace caddie::ops::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class ScaledAddFunction : public torch::autograd::Function<ScaledAddFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
    context->save_for_backward({y, scale});
    return run_rows(RowOp::scaled_add, x, y, scale);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &y = saved[0], &scale = saved[1], gradient = gradients[0].contiguous();
    const auto of_y = pooled(y.sizes(), y.scalar_type()), of_scale = at::empty_like(scale);
    const ScaledAddBackward a{y.numel() / y.size(-1), y.size(-1), bytes(y), bytes(gradient), floats(scale), bytes_of(of_y),
                              floats_of(of_scale)};
    kernels().scaled_add_backward(common_for(y.scalar_type()), a);
    return {gradient, of_y, of_scale};
  }
};

at::Tensor run_embed(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type, at::Tensor* norm) {
  auto sizes = tokens.sizes().vec();
  sizes.push_back(embedding.size(1));
  const auto out = pooled(sizes, type);
  if (norm != nullptr) *norm = pooled({tokens.numel()}, at::kFloat);
  const Embed a{tokens.numel(), embedding.size(1), tokens.const_data_ptr<std::int64_t>(), floats(embedding), bytes_of(out),
                norm != nullptr ? floats_of(*norm) : nullptr};
  kernels().embed(common_for(type), a);
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
    const auto vocabulary = context->saved_data["vocabulary"].toInt();
    const auto result = at::empty({vocabulary, out.size(-1)}, at::kFloat);
    const EmbedBackward a{tokens.numel(), out.size(-1), vocabulary, tokens.const_data_ptr<std::int64_t>(), bytes(out),
                          bytes(gradient), floats(saved[2]), floats_of(result)};
    kernels().embed_backward(common_for(out.scalar_type()), a);
    return {at::Tensor(), result, at::Tensor()};
  }
};

}  // namespace

at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale) {
  const auto rows = x.contiguous(), other = y.contiguous(), factors = scale.contiguous();
  if (!at::GradMode::is_enabled()) return run_rows(RowOp::scaled_add, rows, other, factors);
  return ScaledAddFunction::apply(rows, other, factors);
}

at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type) {
  const auto ids = tokens.contiguous(), table = embedding.contiguous();
  const auto* id = ids.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    CADDIE_CHECK(id[i] >= 0 && id[i] < table.size(0), ErrorKind::data, "token ", id[i], " at position ", i,
                 " is not a piece of the vocabulary of ", table.size(0));
  }
  if (!at::GradMode::is_enabled()) return run_embed(ids, table, type, nullptr);
  return EmbedFunction::apply(ids, table, type == at::kBFloat16);
}

}  // namespace caddie::ops::cpu
