#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include "caddie/quantizer.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

std::shared_ptr<Quantizer> make(const char* dtype) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  return catalogue.create_quantizer({{"use", "float16"}, {"dtype", dtype}}, QuantizerContext{nullptr});
}

}  // namespace

TEST_CASE("weights are stored in the number format asked for") {
  const auto weight = at::randn({3, 4, 5});
  const Weight weights[] = {{"w", weight}};
  const std::pair<const char*, at::ScalarType> types[] = {
      {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}, {"float32", at::kFloat}};
  for (const auto& [name, type] : types) {
    const auto q = make(name)->quantize(weights, nullptr)[0];
    CHECK(q.encoding == Encoding::plain);
    CHECK(q.codes.scalar_type() == type);
    CHECK(at::equal(q.codes, weight.to(type)));
    CHECK(make(name)->expected_size(3, 20).raw_bytes == 60 * q.codes.element_size());
  }
}

TEST_CASE("a value that float16 cannot hold is refused by name") {
  const Weight weights[] = {{"large", at::full({2}, 1e6)}};
  CHECK_THROWS_WITH(make("float16")->quantize(weights, nullptr), Catch::Contains("'large'"));
  CHECK_NOTHROW(make("bfloat16")->quantize(weights, nullptr));
}
