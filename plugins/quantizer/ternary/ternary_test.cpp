// Against the formula, element by element.
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "caddie/quantizer.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

std::shared_ptr<Quantizer> make(const Json& options) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  Json section = options;
  section["use"] = "ternary";
  return catalogue.create_quantizer(section, QuantizerContext{nullptr});
}

QuantizedTensor quantize(const at::Tensor& value, const Json& options) {
  const Weight weights[] = {{"w", value}};
  return make(options)->quantize(weights, nullptr)[0];
}

}  // namespace

TEST_CASE("codes and steps are those of the formula, for groups that divide a row and groups that do not") {
  at::manual_seed(1);
  const std::int64_t rows = 5, columns = 22;
  const auto weight = at::randn({rows, columns});
  for (const auto& [group, groups, width] : {std::tuple{0, 1, 22}, {22, 1, 22}, {11, 2, 11}, {8, 3, 8}, {5, 5, 5}}) {
    INFO("group " << group);
    const auto q = quantize(weight, {{"group", group}});
    CHECK(q.bits == 2);
    REQUIRE(q.steps.numel() == rows * groups);
    const auto steps = q.steps.view({rows, groups});
    const auto decoded = decoded_value(q);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < columns; ++c) {
        double sum = 0, count = 0;
        for (std::int64_t k = c / width * width; k < std::min<std::int64_t>(columns, (c / width + 1) * width); ++k, ++count)
          sum += std::abs(weight[r][k].item<double>());
        const double step = sum / count;
        CHECK(steps[r][c / width].item<double>() == Approx(step).epsilon(1e-6));
        const double code = std::clamp(std::nearbyint(weight[r][c].item<double>() / step), -1.0, 1.0);
        CHECK(q.codes[r][c].item<int>() == static_cast<int>(code));
        CHECK(decoded[r][c].item<double>() == Approx(code * step).epsilon(1e-6));
      }
  }
}

TEST_CASE("the expected entropy is that of normal numbers") {
  at::manual_seed(2);
  const auto q = quantize(at::randn({64, 512}), {});
  double bits = 0;
  for (int code = -1; code <= 1; ++code) {
    const double share = q.codes.eq(code).to(at::kDouble).mean().item<double>();
    bits -= share * std::log2(share);
  }
  const auto expected = make({})->expected_size(64, 512);
  CHECK(expected.raw_bytes == 64 * 512 + 64 * 4 * 2);
  CHECK(expected.entropy_bytes == Approx(64 * 512 * bits / 8 + 64 * 4 * 1.2).epsilon(0.01));
}

TEST_CASE("a low-rank part brings the weight nearer") {
  at::manual_seed(3);
  const auto weight = at::randn({24, 3}).mm(at::randn({3, 40})).add(at::randn({24, 40}).mul(0.1));
  const auto error = [&](const Json& options) {
    return decoded_value(quantize(weight, options)).sub(weight).norm().item<double>();
  };
  CHECK(error({{"low_rank", 3}}) < 0.6 * error({}));
  CHECK(error({{"low_rank", 3}, {"low_rank_dtype", "float16"}}) < 0.6 * error({}));
}
