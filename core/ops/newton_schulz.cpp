// Newton-Schulz iteration of Muon (Jordan et al., 2024; reference section 3), one matrix or a batch of one shape.
// bfloat16 means: every operation's result is rounded to bfloat16, products accumulate in float32. A CPU without bfloat16
// products computes the same in float32 and rounds, which is much faster there.
#include <ATen/Parallel.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <bit>
#include <cstdint>
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

// As bfloat16 holds it: to nearest, halves to even.
inline float rounded(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto nearest = std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
  return x == x ? nearest : x;
}

constexpr std::int64_t kGrain = 16384;  // elements a thread takes at least

[[gnu::target_clones("avx512f", "avx2", "default")]] void round_range(float* x, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) x[i] = rounded(x[i]);
}
// x = a x + b y
[[gnu::target_clones("avx512f", "avx2", "default")]] void combine_range(float* x, const float* y, float a, float b, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) x[i] = rounded(rounded(a * x[i]) + rounded(b * rounded(y[i])));
}

// The same of bfloat16 values, given as their bits.
inline float widened(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
[[gnu::target_clones("avx512f", "avx2", "default")]] void combine_halves(std::uint16_t* x, const std::uint16_t* y,
                                                                         float a, float b, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const float sum = rounded(rounded(a * widened(x[i])) + rounded(b * widened(y[i])));
    x[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(sum) >> 16);
  }
}

void round_all(at::Tensor& x) {
  float* values = x.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) { round_range(values + begin, end - begin); });
}
void combine(at::Tensor& x, const at::Tensor& y, double a, double b) {
  const auto over = [&](auto* values, const auto* others, auto range) {
    at::parallel_for(0, x.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
      range(values + begin, others + begin, static_cast<float>(a), static_cast<float>(b), end - begin);
    });
  };
  if (x.scalar_type() == at::kFloat) return over(x.mutable_data_ptr<float>(), y.const_data_ptr<float>(), combine_range);
  over(static_cast<std::uint16_t*>(x.mutable_data_ptr()), static_cast<const std::uint16_t*>(y.const_data_ptr()), combine_halves);
}

// bfloat16 tensors, or the same numbers in float32 ones: what lies between two products is one pass.
void iterate_as_bfloat16(at::Tensor& x, Steps steps) {
  const bool wide = x.scalar_type() == at::kFloat;
  at::Tensor gram = at::empty({x.size(0), x.size(1), x.size(1)}, x.options()), square = at::empty_like(gram), product = at::empty_like(x);
  for (const auto& [a, b, c] : steps) {
    at::bmm_out(gram, x, x.transpose(1, 2));
    if (wide) round_all(gram);
    at::bmm_out(square, gram, gram);
    combine(gram, square, b, c);
    at::bmm_out(product, gram, x);
    combine(x, product, a, 1);
  }
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
    iterate_as_bfloat16(x, steps);
    x = x.to(at::kBFloat16);
  } else {
    x = x.to(at::kBFloat16);
    x = x.div(norm(x).add(epsilon)).contiguous();
    // A GPU's products take the sums with them, which leaves roundings out; elementwise ops would take as long as they do.
    if (x.is_cpu()) iterate_as_bfloat16(x, steps);
    else x = iterate(x, steps);
  }
  if (tall) x = x.transpose(1, 2);
  return x.contiguous().reshape(g.sizes());
}

}  // namespace caddie::ops
