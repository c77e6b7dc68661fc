// Newton-Schulz iteration of Muon (Jordan et al., 2024; reference section 3), one matrix or a batch of one shape.
// bfloat16 means: every operation's result is rounded to bfloat16, products accumulate in float32. A CPU without bfloat16
// products computes the same in float32 and rounds, which is much faster there.
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <vector>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/ops/cpu/features.h"

namespace caddie::ops {
namespace {

using Steps = std::span<const NewtonSchulzStep>;

at::Tensor iterate(at::Tensor x, Steps steps) {
  for (const auto& [a, b, c] : steps) {
    const auto gram = at::bmm(x, x.transpose(1, 2));
    const auto polynomial = at::baddbmm(gram, gram, gram, b, c);  // b A + c A A
    x = at::baddbmm(x, polynomial, x, a, 1);
  }
  return x;
}

// With `round` after every operation, for bfloat16.
template <class Round>
at::Tensor iterate_rounded(at::Tensor x, Steps steps, Round round) {
  for (const auto& [a, b, c] : steps) {
    const auto gram = round(at::bmm(x, x.transpose(1, 2)));
    const auto square = round(at::bmm(gram, gram));
    const auto polynomial = round(round(gram.mul(b)).add(round(square.mul(c))));
    x = round(round(x.mul(a)).add(round(at::bmm(polynomial, x))));
  }
  return x;
}

}  // namespace

at::Tensor newton_schulz(const at::Tensor& g, int steps, double a, double b, double c, bool bfloat16,
                         double epsilon) {
  const std::vector<NewtonSchulzStep> alike(static_cast<std::size_t>(steps), NewtonSchulzStep{a, b, c});
  return newton_schulz(g, alike, bfloat16, /*margin=*/1, epsilon);
}

at::Tensor newton_schulz(const at::Tensor& g, std::span<const NewtonSchulzStep> steps, bool bfloat16, double margin,
                         double epsilon) {
  CADDIE_CHECK(g.dim() == 2 || g.dim() == 3, ErrorKind::failed, "newton_schulz takes a matrix or a batch of matrices, not ",
               g.dim(), " dimensions");
  const bool tall = g.size(-2) > g.size(-1);
  auto x = g.detach();
  if (x.dim() == 2) x = x.unsqueeze(0);
  if (tall) x = x.transpose(1, 2);

  const auto norm = [margin](const at::Tensor& m) {
    const auto frobenius = at::linalg_vector_norm(m, 2, at::IntArrayRef{1, 2}, /*keepdim=*/true);
    return margin == 1 ? frobenius : frobenius.mul(margin);
  };
  if (!bfloat16) {
    x = x.to(at::kFloat);
    x = iterate(x.div(norm(x).add(epsilon)).contiguous(), steps);
  } else if (x.is_cpu() && !cpu::has_bfloat16_products()) {
    const auto round = [](const at::Tensor& m) { return m.to(at::kBFloat16).to(at::kFloat); };
    x = round(x.to(at::kFloat));
    x = round(x.div(round(round(norm(x)).add(epsilon)))).contiguous();
    x = iterate_rounded(x, steps, round).to(at::kBFloat16);
  } else {
    const auto keep = [](const at::Tensor& m) { return m; };
    x = x.to(at::kBFloat16);
    x = x.div(norm(x).add(epsilon)).contiguous();
    // A GPU's products take the sums with them, which leaves roundings out; elementwise ops would take as long as they do.
    x = x.is_cuda() ? iterate(x, steps) : iterate_rounded(x, steps, keep);
  }
  if (tall) x = x.transpose(1, 2);
  return x.contiguous().reshape(g.sizes());
}

}  // namespace caddie::ops
