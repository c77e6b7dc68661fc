#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

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
