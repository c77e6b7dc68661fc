// Autograd of the output map with its loss on a CUDA device, in chunks of rows: the products of a chunk become their own
// gradient in place, so that the logits of a batch never exist at once.
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kChunkElements = std::int64_t{1} << 25;  // of products: 64 MiB of bfloat16

struct Head {
  at::Tensor x, copy, targets, norm;  // norm undefined: rows are taken as they are
  float cap;
};
struct Results {
  at::Tensor nats;                   // wanted if defined
  at::Tensor row_gradient;           // of the nats; undefined: `weight` for each
  float weight = 0;
  at::Tensor product, of_embedding;  // wanted if product is defined: what norm_backward takes, and float32 [V, D]
};

void run(const Head& h, Results& r) {
  const auto launch = launch_for(h.x.scalar_type());
  const auto rows = h.x.size(0), vocabulary = h.copy.size(0);
  const bool write = r.product.defined();
  const auto chunk = std::min(rows, std::max<std::int64_t>(1, kChunkElements / vocabulary / 128 * 128));
  const auto buffer = new_like({chunk, vocabulary}, h.x);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const auto count = std::min(chunk, rows - first);
    const auto x = h.x.narrow(0, first, count);
    at::Tensor products = buffer.narrow(0, 0, count);
    at::mm_out(products, x, h.copy.t());
    const auto floats_at = [&](const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() + first : nullptr; };
    cross_entropy(launch, {count, vocabulary, bytes_of(products), floats_at(h.norm), h.targets.const_data_ptr<std::int64_t>() + first,
                           h.cap, floats_at(r.nats), write, floats_at(r.row_gradient), r.weight});
    if (!write) continue;
    at::Tensor product = r.product.narrow(0, first, count);
    at::mm_out(product, products, h.copy);
    if (first == 0)
      r.of_embedding = weight_product(products, x);
    else
      add_weight_product(r.of_embedding, products, x);
  }
  check_launches();
}

at::Tensor norm_of(const at::Tensor& x) {
  const auto norm = new_floats({x.size(0)}, x);
  row_norm(launch_for(x.scalar_type()), {x.size(0), x.size(1), bytes(x), nullptr, nullptr, floats_of(norm)});
  return norm;
}

// factor: a float32 scalar on the device, or undefined.
at::Tensor through_norm(const Head& h, const at::Tensor& product, const at::Tensor& factor) {
  if (!h.norm.defined()) return factor.defined() ? product.mul(factor).to(product.scalar_type()) : product;
  const auto result = at::empty_like(h.x);
  norm_backward(launch_for(h.x.scalar_type()), {h.x.size(0), h.x.size(1), nullptr, bytes(product), bytes(h.x), floats(h.norm),
                                                floats(factor), bytes_of(result)});
  check_launches();
  return result;
}

class NatsFunction : public torch::autograd::Function<NatsFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& copy,
                            const at::Tensor& targets, double cap, bool normed) {
    (void)embedding;
    const Head h{x, copy, targets, normed ? norm_of(x) : at::Tensor(), static_cast<float>(cap)};
    Results r;
    r.nats = new_floats({x.size(0)}, x);
    run(h, r);
    context->save_for_backward({x, copy, targets, h.norm});
    context->saved_data["cap"] = cap;
    return r.nats;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto s = context->get_saved_variables();
    const Head h{s[0], s[1], s[2], s[3], static_cast<float>(context->saved_data["cap"].toDouble())};
    Results r;
    r.row_gradient = gradients[0].contiguous();
    r.product = at::empty_like(h.x);
    run(h, r);
    const at::Tensor none;
    return {through_norm(h, r.product, none), r.of_embedding, none, none, none, none};
  }
};

class LossFunction : public torch::autograd::Function<LossFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& copy,
                            const at::Tensor& targets, double cap) {
    (void)embedding;
    const Head h{x, copy, targets, norm_of(x), static_cast<float>(cap)};
    Results r;
    r.nats = new_floats({x.size(0)}, x);
    r.weight = 1.0F / static_cast<float>(x.size(0));
    r.product = at::empty_like(x);
    run(h, r);
    context->save_for_backward({x, h.norm, r.product, r.of_embedding});
    return r.nats.mean();
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto s = context->get_saved_variables();
    const auto factor = gradients[0].to(at::kFloat).contiguous();
    const at::Tensor none;
    return {through_norm({s[0], none, none, s[1], 0}, s[2], factor), s[3].mul(factor), none, none, none};
  }
};

Head checked(const at::Tensor& x, const at::Tensor& compute, const at::Tensor& targets, double cap) {
  Head h{x.contiguous(), compute_copy(compute, x), targets.contiguous(), at::Tensor(), static_cast<float>(cap)};
  CADDIE_CHECK(x.dim() == 2 && targets.dim() == 1 && targets.size(0) == x.size(0) && targets.scalar_type() == at::kLong,
               ErrorKind::failed, "the head takes rows [N, D] and int64 targets [N], not ", x.sizes(), " and ", targets.sizes());
  check_matrix(h.copy, h.copy.size(0), x.size(1), "head");
  return h;
}

}  // namespace

at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap, bool normed) {
  const auto h = checked(x, compute, targets, cap);
  return NatsFunction::apply(h.x, embedding, h.copy, h.targets, cap, normed);
}

at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, const at::Tensor& targets,
                     double cap) {
  if (!at::GradMode::is_enabled()) return head_nats(x, embedding, compute, targets, cap, /*normed=*/true).mean();
  const auto h = checked(x, compute, targets, cap);
  return LossFunction::apply(h.x, embedding, h.copy, h.targets, cap);
}

}  // namespace caddie::ops::cuda
