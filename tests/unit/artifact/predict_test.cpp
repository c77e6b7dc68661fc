#include "core/artifact/predict.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <cmath>

#include "caddie/code_entropy.h"
#include "core/artifact/describe.h"
#include "tests/support/catch.h"
#include "tests/unit/artifact/fake_model.h"
#include "tests/unit/artifact/fakes.h"

using namespace caddie;
using namespace caddie::artifact;

TEST_CASE("the predicted entropy of absmax rows is that of Gaussian weights") {
  for (const int bits : {3, 5, 8}) {
    const auto [codes, steps] = ops::quantize_rows(at::randn({600, 300}), bits);
    INFO(bits << " bits");
    // 180,000 codes: the estimate from counts is good to about 0.01 bit.
    CHECK(absmax_code_bits(bits, 300) == Approx(8 * entropy_bytes(codes) / 180000.0).margin(0.02));
  }
  // Columns of unequal size, as trained wide matrices have them.
  const auto columns = at::randn({400}).mul(std::sqrt(std::log1p(0.3 * 0.3))).exp();
  const auto uneven = ops::quantize_rows(at::randn({300, 400}).mul(columns), 5).first;
  CHECK(absmax_code_bits(5, 400, 0.3) == Approx(8 * entropy_bytes(uneven) / 120000.0).margin(0.12));
  CHECK(absmax_code_bits(5, 400, 0.3) < absmax_code_bits(5, 400) - 0.25);
  CHECK(absmax_code_bits(5, 512) > absmax_code_bits(5, 1792));  // longer rows have larger maxima
  CHECK(absmax_code_bits(2, 1) == Approx(1));                   // the only element is the maximum: one bit, its sign
}

TEST_CASE("the prediction at full size is what was published and simulated for the reference") {
  // The reference's shapes, on the meta device.
  std::vector<Parameter> parameters;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, Role role) {
    parameters.push_back({name, at::empty(shape, at::TensorOptions(at::kMeta).dtype(at::kFloat)), role, "group", 0});
  };
  add("embedding.weight", {4096, 512}, Role::embedding);
  add("skip.weight", {5, 512}, Role::vector);
  for (int layer = 0; layer < 10; ++layer) {
    const auto block = "blocks." + std::to_string(layer) + ".";
    add(block + "residual_mix", {2, 512}, Role::vector);
    for (const char* name : {"attention_scale", "mlp_scale"}) add(block + name, {512}, Role::vector);
    add(block + "query_gain", {8}, Role::vector);
    for (const char* name : {"query", "output"}) add(block + name, {512, 512}, Role::matrix);
    for (const char* name : {"key", "value"}) add(block + name, {256, 512}, Role::matrix);
    add(block + "up", {1792, 512}, Role::matrix);
    add(block + "down", {512, 1792}, Role::matrix);
  }
  class RoundTo final : public Quantizer {
   public:
    explicit RoundTo(int bits) : bits_(bits) {}
    bool needs_calibration() const override { return false; }
    std::vector<QuantizedTensor> quantize(std::span<const Weight>, const Calibration*) override { return {}; }
    ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
      return expected_row_codes(bits_, rows, columns);
    }

   private:
    int bits_;
  };
  const QuantizerFactory factory = [](const Json& entry) {
    return std::make_shared<RoundTo>(entry["bits"].get<int>());
  };
  const auto settings = QuantizeSettings::from_json(
      {{"tensors", {{{"match", "matrix"}, {"bits", 5}}, {{"match", "embedding"}, {"bits", 8}}}}});
  const fakes::XorCompressor store;
  const auto prediction = predict_artifact_bytes(parameters, settings, factory, store);
  // 28,311,552 codes, 42,496 steps of 2 bytes, 23,120 floats of 4.
  CHECK(prediction.raw_bytes == 28311552 + 84992 + 92480);
  CHECK(prediction.bytes - prediction.raw_bytes < 3072);
  // The published artifact has 15,918,111 bytes, of which brotli's own rate and the pickle are less than 1 %.
  CHECK(prediction.entropy_bytes == Approx(15.8e6).epsilon(0.03));
  // Simulated Gaussian weights of these shapes: 15,766,840 bytes of entropy.
  const double gaussian = (15728640 * absmax_code_bits(5, 512) + 9175040 * absmax_code_bits(5, 1792) +
                           1310720 * absmax_code_bits(5, 512) + 2097152 * absmax_code_bits(8, 512)) / 8;
  CHECK(gaussian == Approx(15766840).epsilon(0.002));
}
