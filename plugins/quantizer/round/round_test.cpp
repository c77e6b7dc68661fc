#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "caddie/quantizer.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

QuantizedTensor quantize(const at::Tensor& value, const Json& section) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  const auto quantizer = catalogue.create_quantizer(section, QuantizerContext{nullptr});
  CHECK_FALSE(quantizer->needs_calibration());
  const Weight weights[] = {{"w", value}};
  return quantizer->quantize(weights, nullptr)[0];
}

}  // namespace

TEST_CASE("round is the row rounding of the ops, and the presets are its bits") {
  const auto weight = at::randn({7, 33});
  for (const int bits : {2, 5, 6, 8}) {
    const auto [codes, steps] = ops::quantize_rows(weight, bits);
    const auto q = quantize(weight, {{"use", "round"}, {"bits", bits}});
    CHECK(q.encoding == Encoding::row_codes);
    CHECK(q.bits == bits);
    CHECK_FALSE(q.round_bfloat16);
    CHECK(at::equal(q.codes, codes));
    CHECK(at::equal(q.steps, steps));
    if (bits > 2) {
      const auto preset = quantize(weight, {{"use", concat("int", bits)}});
      CHECK(preset.bits == bits);
      CHECK(at::equal(preset.codes, codes));
    }
  }
  CHECK(quantize(weight, {{"use", "int8"}, {"bits", 5}}).bits == 5);
  CHECK(quantize(weight, {{"use", "round"}}).bits == 8);
}

TEST_CASE("with bfloat16 the weight is rounded first, and the decoded value says so") {
  const auto weight = at::randn({4, 20});
  const auto q = quantize(weight, {{"use", "int8"}, {"bfloat16", true}});
  CHECK(q.round_bfloat16);
  CHECK(at::equal(q.codes, ops::quantize_rows(weight.to(at::kBFloat16).to(at::kFloat), 8).first));
}

TEST_CASE("shapes and values that cannot be rounded are refused by name") {
  CHECK_THROWS_WITH(quantize(at::randn({4}), {{"use", "round"}}), Catch::Contains("'w' has 1 dimensions"));
  CHECK_THROWS_WITH(quantize(at::randn({2, 2}).div(0), {{"use", "round"}}), Catch::Contains("not finite"));
}

TEST_CASE("steps by deviation: of the row, and of the whole matrix") {
  at::manual_seed(4);
  const auto weight = at::randn({6, 200}).mul(at::randn({6, 1}).exp());
  const auto rows = quantize(weight, {{"use", "round"}, {"bits", 6}, {"steps", "sdclip"}, {"sigmas", 12.85}});
  for (std::int64_t r = 0; r < 6; ++r) {
    double mean = 0, squares = 0;
    for (std::int64_t c = 0; c < 200; ++c) mean += weight[r][c].item<double>() / 200;
    for (std::int64_t c = 0; c < 200; ++c) squares += std::pow(weight[r][c].item<double>() - mean, 2);
    CHECK(rows.steps[r].item<double>() == Approx(12.85 * std::sqrt(squares / 199) / 31).epsilon(1e-5));
  }
  const auto whole = quantize(weight, {{"use", "round"}, {"bits", 6}, {"steps", "tensor"}, {"sigmas", 12.85}});
  CHECK(whole.steps.max().item<float>() == whole.steps.min().item<float>());
  CHECK(whole.steps[0].item<double>() == Approx(12.85 * weight.std().item<double>() / 31).epsilon(1e-5));
  CHECK(whole.codes.abs().max().item<int>() <= 31);
  // What is beyond the clip is cut: with 2 deviations a few values in a hundred.
  const auto cut = quantize(weight, {{"use", "round"}, {"bits", 6}, {"steps", "sdclip"}, {"sigmas", 2}});
  CHECK(cut.codes.abs().eq(31).to(at::kDouble).mean().item<double>() == Approx(0.048).margin(0.02));
}

TEST_CASE("the clip search takes the share of least squared error, row by row") {
  at::manual_seed(5);
  auto weight = at::randn({4, 300});
  weight[1][7] = 12;  // an outlier: clipping it helps the others
  const Json section = {{"use", "round"}, {"bits", 4}, {"steps", "clip_search"}, {"clips", {1, 0.8, 0.6, 0.4, 0.2}}};
  const auto q = quantize(weight, section);
  for (std::int64_t r = 0; r < 4; ++r) {
    const double largest = weight[r].abs().max().item<double>();
    double best = 0, least = 1e30;
    for (const double clip : {1.0, 0.8, 0.6, 0.4, 0.2}) {
      const double step = clip * largest / 7;
      double error = 0;
      for (std::int64_t c = 0; c < 300; ++c) {
        const double w = weight[r][c].item<double>(), code = std::clamp(std::nearbyint(w / step), -7.0, 7.0);
        error += (code * step - w) * (code * step - w);
      }
      if (error < least) least = error, best = step;
    }
    CHECK(q.steps[r].item<double>() == Approx(best).epsilon(1e-5));
  }
  CHECK(q.steps[1].item<double>() < 0.7 * 12 / 7);
  CHECK_THROWS_WITH(quantize(weight, {{"use", "round"}, {"steps", "clip_search"}, {"clips", Json::array()}}),
                    Catch::Contains("'clips' is an empty list"));
}

TEST_CASE("the low-rank part is the best one: the residual's first singular vectors") {
  at::manual_seed(6);
  const auto weight = at::randn({20, 3}).mm(at::randn({3, 30})).add(at::randn({20, 30}).mul(0.01));
  const Json section = {{"use", "round"}, {"bits", 3}, {"low_rank", 4}, {"low_rank_dtype", "float16"}};
  const auto q = quantize(weight, section);
  REQUIRE(q.low_rank.left.sizes() == at::IntArrayRef({4, 20}));
  REQUIRE(q.low_rank.right.sizes() == at::IntArrayRef({4, 30}));
  QuantizedTensor codes = q;
  codes.low_rank = {};
  codes.steps = q.steps.to(at::kHalf);
  const auto residual = weight.sub(decoded_value(codes)).to(at::kDouble);
  // Eckart and Young: what is left has the norm of the other singular values.
  const auto squared = std::get<0>(at::linalg_eigh(residual.mm(residual.t()))).flip(0).clamp_min(0);
  const double best = std::sqrt(squared.narrow(0, 4, 16).sum().item<double>());
  QuantizedTensor stored = q;
  stored.steps = q.steps.to(at::kHalf);
  CHECK(decoded_value(stored).sub(weight).norm().item<double>() == Approx(best).epsilon(0.01));
  const auto coarse = quantize(weight, {{"use", "round"}, {"bits", 3}, {"low_rank", 4}});
  CHECK(coarse.low_rank.left.scalar_type() == at::kChar);
  CHECK(decoded_value(coarse).sub(weight).norm().item<double>() < 1.1 * best);
}
