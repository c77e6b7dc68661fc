// Weights stored as floating-point numbers, of 16 bits by default.
#include "caddie/error.h"
#include "caddie/quantizer.h"

namespace {

using namespace caddie;

constexpr OptionSpec kOptions[] = {
    {"dtype", OptionType::text, "\"float16\"", nullptr, nullptr, "float16|bfloat16|float32", "stored number format"},
};

class Float final : public Quantizer {
 public:
  Float(const Options& options, const QuantizerContext&) {
    const auto& name = options.text("dtype");
    type_ = name == "float32" ? at::kFloat : name == "bfloat16" ? at::kBFloat16 : at::kHalf;
  }

  bool needs_calibration() const override { return false; }

  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration*) override {
    std::vector<QuantizedTensor> results;
    for (const auto& weight : weights) {
      QuantizedTensor result{Encoding::plain, weight.value.to(type_), {}, 0, false, {}};
      CADDIE_CHECK(result.codes.isfinite().all().item<bool>(), ErrorKind::failed, "the weight '", weight.name,
                   "' has values that ", at::toString(type_), " cannot hold (NaN, or too large)");
      results.push_back(std::move(result));
    }
    return results;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    return expected_floats(type_ == at::kFloat ? 4 : 2, type_ == at::kBFloat16, rows * columns);
  }

 private:
  at::ScalarType type_ = at::kHalf;
};

}  // namespace

CADDIE_PLUGIN("1.0", quantizer_component<Float>("float16", "Stored as float16, bfloat16 or float32", 1, kOptions))
