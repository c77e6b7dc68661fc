// The kernels of GPTQ against LAPACK's factor and the loop over columns, at widths that fill no block.
#include <ATen/ops/bmm.h>
#include <ATen/ops/eye.h>

#include "tests/simt/compare.h"

using namespace caddie::simt_test;
namespace ops = caddie::ops;

namespace {

// Inputs whose channels differ in size and hang together, with a percent of damping.
at::Tensor hessians(Draw& draw, std::int64_t n, std::int64_t columns) {
  const auto mix = draw.normal({n, columns, columns}, 0.1).add(at::eye(columns).to(device()));
  const auto x = draw.normal({n, 2 * columns, columns}).bmm(mix).mul(draw.normal({n, 1, columns}, 0.5).exp());
  const auto h = at::bmm(x.transpose(1, 2), x);
  return h.add(at::eye(columns).to(device()).mul(0.01 * h.diagonal(0, 1, 2).mean().item<double>()));
}

}  // namespace

TEST_CASE("the factor of an inverse, block by block") {
  if (skip()) return;
  const std::int64_t columns = GENERATE(1, 20, 64, 65, 150);
  Draw draw(30);
  const auto h = hessians(draw, 3, columns);
  auto spoiled = h.clone();
  spoiled.select(0, 1).mul_(-1);  // has none, and must not disturb the others
  const auto [upper, good] = subject::inverse_factor(spoiled);
  CHECK(good.select(0, 0).item<bool>());
  CHECK_FALSE(good.select(0, 1).item<bool>());
  CHECK(good.select(0, 2).item<bool>());
  const Oracle on;
  const auto expected = ops::inverse_factor(h).first;
  for (const std::int64_t i : {0, 2}) {
    CHECK(relative(upper.select(0, i), expected.select(0, i)) < 2e-4);
    CHECK(upper.select(0, i).tril(-1).abs().max().item<double>() == 0);
    // U^T U H = 1
    const auto u = upper.select(0, i).to(at::kDouble);
    const auto product = u.t().mm(u).mm(h.select(0, i).to(at::kDouble));
    CHECK(product.sub(at::eye(columns, product.options())).abs().max().item<double>() < 2e-3);
  }
}

TEST_CASE("rounding with feedback, block by block") {
  if (skip()) return;
  struct Size { std::int64_t n, columns, rows; };
  const auto size = GENERATE(Size{1, 1, 1}, Size{2, 30, 33}, Size{2, 64, 32}, Size{2, 150, 40});
  Draw draw(31);
  const auto h = hessians(draw, size.n, size.columns);
  const auto values = draw.normal({size.n, size.columns, size.rows});
  const auto steps = values.abs().amax(1).div(7);
  at::Tensor upper;
  {
    const Oracle on;
    upper = ops::inverse_factor(h).first;
  }
  const auto codes = subject::round_with_feedback(values, steps, upper, 7, 128);
  const Oracle on;
  const auto expected = ops::round_with_feedback(values, steps, upper, 7, 128);
  REQUIRE(codes.scalar_type() == at::kChar);
  // Sums in another order: a value that lies on the border of two codes may fall to the other, and later ones with it.
  const auto same = codes.eq(expected).to(at::kDouble).mean().item<double>();
  CHECK(same > 0.99);
  CHECK(codes.abs().max().item<std::int64_t>() <= 7);
  const auto first = codes.select(1, 0), rounded = values.select(1, 0).div(steps).round().clamp(-7, 7).to(at::kChar);
  CHECK(first.equal(rounded));
}
