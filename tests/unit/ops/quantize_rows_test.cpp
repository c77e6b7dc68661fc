// Row quantization, bit for bit: ties, zero rows, tiny rows, extremes of the range.
#include "tests/support/catch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstring>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "caddie/services.h"

namespace ops = caddie::ops;

namespace {

at::Tensor awkward_weight(std::int64_t rows, std::int64_t columns) {
  caddie::Random random(5, "weight");
  auto weight = at::empty({rows, columns}, at::kFloat);
  auto* data = weight.mutable_data_ptr<float>();
  for (std::int64_t r = 0; r < rows; ++r) {
    const double scale = std::pow(10.0, -static_cast<double>(r % 16));  // down to denormal steps
    for (std::int64_t c = 0; c < columns; ++c) data[r * columns + c] = static_cast<float>(scale * random.normal());
  }
  if (rows > 2) {
    weight.select(0, 1).zero_();
    for (std::int64_t c = 0; c < columns; ++c) data[2 * columns + c] = static_cast<float>(c % 31) - 15.0F + 0.5F * (c % 2);
    data[2 * columns] = 15.0F;
  }
  return weight;
}

}  // namespace

TEST_CASE("fake quantization is the definition, bit for bit") {
  const int bits = GENERATE(2, 3, 4, 5, 6, 8);
  const auto columns = GENERATE(1, 7, 16, 33, 160);
  const auto weight = awkward_weight(37, columns);
  const auto result = ops::fake_quantize_rows(weight, bits);
  const auto [codes, steps] = ops::quantize_rows(weight, bits);
  REQUIRE(result.sizes() == weight.sizes());
  REQUIRE(codes.scalar_type() == at::kChar);
  REQUIRE(steps.sizes() == at::IntArrayRef({37}));
  const float top = static_cast<float>((1 << (bits - 1)) - 1);
  int wrong = 0;
  for (std::int64_t r = 0; r < weight.size(0); ++r) {
    const float* row = weight.const_data_ptr<float>() + r * columns;
    float largest = 0;
    for (std::int64_t c = 0; c < columns; ++c) largest = std::max(largest, std::fabs(row[c]));
    const float step = std::max(largest, 1e-12F) / top;
    wrong += steps.const_data_ptr<float>()[r] != step;
    for (std::int64_t c = 0; c < columns; ++c) {
      const float code = std::min(std::max(std::nearbyintf(row[c] / step), -top), top), expected = code * step;
      wrong += codes.const_data_ptr<std::int8_t>()[r * columns + c] != static_cast<std::int8_t>(code);
      wrong += std::memcmp(&expected, result.const_data_ptr<float>() + r * columns + c, sizeof(float)) != 0;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("ties go to the even code") {
  const auto weight = at::tensor({15.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F}).unsqueeze(0);
  const auto [codes, steps] = ops::quantize_rows(weight, 5);
  CHECK(steps.item<float>() == 1.0F);
  const std::int8_t expected[] = {15, 0, 2, 2, 0, -2};
  for (int i = 0; i < 6; ++i) CHECK(codes.const_data_ptr<std::int8_t>()[i] == expected[i]);
}

TEST_CASE("bits outside 2 to 8 are refused") {
  CHECK_THROWS_AS(ops::fake_quantize_rows(at::zeros({2, 2}), 1), caddie::Error);
  CHECK_THROWS_AS(ops::quantize_rows(at::zeros({2, 2}), 9), caddie::Error);
}
