// Newton-Schulz, the spectrum of the embedding, and the rotation's tables, each against plain loops or their definition.
#include "tests/support/catch.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include <cmath>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "caddie/services.h"
#include "core/ops/cpu/features.h"

namespace ops = caddie::ops;

namespace {

at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t seed) {
  caddie::Random random(seed, "normal");
  auto values = at::empty(shape, at::kFloat);
  for (std::int64_t i = 0; i < values.numel(); ++i) values.mutable_data_ptr<float>()[i] = static_cast<float>(random.normal());
  return values;
}

double largest(const at::Tensor& x) { return x.to(at::kDouble).abs().max().item<double>(); }

at::Tensor newton_schulz_in_double(const at::Tensor& g, int steps) {
  auto x = g.to(at::kDouble);
  const bool tall = x.size(0) > x.size(1);
  if (tall) x = x.t();
  x = x.div(x.norm().add(1e-7));
  for (int i = 0; i < steps; ++i) {
    const auto gram = x.matmul(x.t());
    x = x.mul(3.4445).add(gram.mul(-4.7750).add(gram.matmul(gram).mul(2.0315)).matmul(x));
  }
  return tall ? x.t() : x;
}

at::Tensor run(const at::Tensor& g, bool bfloat16) { return ops::newton_schulz(g, 5, 3.4445, -4.7750, 2.0315, bfloat16); }

}  // namespace

TEST_CASE("Newton-Schulz follows its formula for wide, tall, square and small matrices") {
  const auto shape = GENERATE(std::vector<std::int64_t>{24, 40}, std::vector<std::int64_t>{40, 24},
                              std::vector<std::int64_t>{33, 33}, std::vector<std::int64_t>{1, 5});
  const auto g = normal(shape, 11);
  const auto expected = newton_schulz_in_double(g, 5);
  const auto exact = run(g, false), rounded = run(g, true);
  CHECK(exact.sizes() == g.sizes());
  CHECK(exact.is_contiguous());
  CHECK(largest(exact.to(at::kDouble).sub(expected)) < 2e-5);
  CHECK(rounded.scalar_type() == at::kBFloat16);
  CHECK(largest(rounded.to(at::kDouble).sub(expected)) < 0.12);
  CHECK(largest(rounded.to(at::kDouble).sub(expected)) > 1e-4);  // it was rounded
}

TEST_CASE("Newton-Schulz takes coefficients of its own for each step, and a margin") {
  const auto g = normal({9, 14}, 5);
  const ops::NewtonSchulzStep steps[] = {{4, -6, 3}, {2, -1.5, 0.5}};
  auto x = g.to(at::kDouble);
  x = x.div(x.norm().mul(1.1).add(1e-7));
  for (const auto& [a, b, c] : steps) {
    const auto gram = x.matmul(x.t());
    x = x.mul(a).add(gram.mul(b).add(gram.matmul(gram).mul(c)).matmul(x));
  }
  CHECK(largest(ops::newton_schulz(g, steps, false, 1.1).to(at::kDouble).sub(x)) < 2e-5);
  CHECK(largest(ops::newton_schulz(g, steps, true, 1.1).to(at::kDouble).sub(x)) < 0.12);
}

TEST_CASE("what lies between two products of Newton-Schulz rounds as one operation after the other does") {
  if (!ops::cpu::has_bfloat16_products()) {
    WARN("skipped: no bfloat16 products here, and those in float32 sum in another order");
    return;
  }
  auto x = normal({3, 70, 130}, 6).to(at::kBFloat16);
  const auto result = run(x, true);
  x = x.div(at::linalg_vector_norm(x, 2, at::IntArrayRef{1, 2}, true).add(1e-7));
  for (int i = 0; i < 5; ++i) {
    const auto gram = at::bmm(x, x.transpose(1, 2));
    const auto polynomial = gram.mul(-4.7750).add(at::bmm(gram, gram).mul(2.0315));
    x = x.mul(3.4445).add(at::bmm(polynomial, x));
  }
  CHECK(result.equal(x));
}

TEST_CASE("a batch of matrices gives what each gives alone") {
  const bool bfloat16 = GENERATE(false, true);
  const auto a = normal({20, 12}, 1), b = normal({20, 12}, 2).mul(1e-3), c = normal({20, 12}, 3).mul(1e3);
  const auto together = run(at::stack({a, b, c}), bfloat16);
  CHECK(largest(together.select(0, 0).sub(run(a, bfloat16))) < 1e-5);
  CHECK(largest(together.select(0, 1).sub(run(b, bfloat16))) < 1e-5);
  CHECK(largest(together.select(0, 2).sub(run(c, bfloat16))) < 1e-5);
}

TEST_CASE("a zero gradient stays zero") { CHECK(largest(run(normal({6, 9}, 1).mul(0), GENERATE(false, true))) == 0); }

TEST_CASE("the spectrum becomes a power law, the singular vectors stay") {
  const auto matrix = normal({50, 20}, 4);
  const auto result = ops::power_law_spectrum(matrix, 0.5);
  const auto values = at::linalg_svdvals(result);
  const double first = at::linalg_svdvals(matrix).select(0, 0).item<double>();
  for (std::int64_t k = 0; k < 20; ++k) {
    CHECK(values.select(0, k).item<double>() == Approx(first / std::sqrt(static_cast<double>(k + 1))).epsilon(1e-4));
  }
  // U and V are kept: U^T M V stays diagonal, which M^T R symmetric says without computing them.
  const auto product = matrix.t().matmul(result);
  CHECK(largest(product.sub(product.t())) < 1e-3 * largest(product));
}

TEST_CASE("rotation tables of the three kinds") {
  const auto [cos, sin] = ops::rope_tables(300, 16, 10000);
  REQUIRE(cos.sizes() == at::IntArrayRef({300, 8}));
  for (const std::int64_t t : {0, 1, 77, 299}) {
    for (std::int64_t i = 0; i < 8; ++i) {
      const double angle = static_cast<double>(t) * std::pow(10000.0, -static_cast<double>(i) / 8);
      CHECK(cos.select(0, t).select(0, i).item<double>() == Approx(std::cos(angle)).margin(5e-5));
      CHECK(sin.select(0, t).select(0, i).item<double>() == Approx(std::sin(angle)).margin(5e-5));
    }
  }
  // Uncompiled bfloat16 cannot tell positions 256 and 257 apart; compiled it can.
  const auto eager = ops::rope_tables(300, 16, 10000, ops::RopeTables::bf16_eager).first;
  const auto compiled = ops::rope_tables(300, 16, 10000, ops::RopeTables::bf16_compiled).first;
  CHECK(eager.select(0, 256).equal(eager.select(0, 257)));
  CHECK_FALSE(compiled.select(0, 256).equal(compiled.select(0, 257)));
  CHECK(compiled.equal(compiled.to(at::kBFloat16).to(at::kFloat)));
  CHECK_THROWS_AS(ops::rope_tables(4, 5, 10000), caddie::Error);
}
