// Round to nearest, one step a row from the row's largest magnitude (reference section 4). `int8`, `int6` and `int5`
// are the same quantizer with other default bits.
#include "caddie/error.h"
#include "caddie/ops.h"
#include "caddie/quantizer.h"

namespace {

using namespace caddie;

constexpr OptionSpec bits_option(const char* fallback) {
  return {"bits",
          OptionType::integer,
          fallback,
          "2",
          "8",
          nullptr,
          "bits a code; codes go from -top to top, top = 2^(bits-1) - 1"};
}
constexpr OptionSpec kBfloat16 = {"bfloat16",
                                  OptionType::boolean,
                                  "false",
                                  nullptr,
                                  nullptr,
                                  nullptr,
                                  "round to bfloat16 before and after, as for weights that rest in bfloat16"};
constexpr OptionSpec kOptions8[] = {bits_option("8"), kBfloat16};
constexpr OptionSpec kOptions6[] = {bits_option("6"), kBfloat16};
constexpr OptionSpec kOptions5[] = {bits_option("5"), kBfloat16};

class Round final : public Quantizer {
 public:
  Round(const Options& options, const QuantizerContext&)
      : bits_(static_cast<int>(options.integer("bits"))), bfloat16_(options.boolean("bfloat16")) {}

  bool needs_calibration() const override { return false; }

  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration*) override {
    std::vector<QuantizedTensor> results;
    for (const auto& weight : weights) {
      CADDIE_CHECK(weight.value.dim() == 2, ErrorKind::usage, "the weight '", weight.name, "' has ", weight.value.dim(),
                   " dimensions, rounding per row takes 2");
      CADDIE_CHECK(weight.value.isfinite().all().item<bool>(), ErrorKind::failed, "the weight '", weight.name,
                   "' is not finite");
      const auto value = bfloat16_ ? weight.value.to(at::kBFloat16).to(at::kFloat) : weight.value.to(at::kFloat);
      auto [codes, steps] = ops::quantize_rows(value, bits_);
      results.push_back({Encoding::row_codes, std::move(codes), std::move(steps), bits_, bfloat16_, {}});
    }
    return results;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    return expected_row_codes(bits_, rows, columns);
  }

 private:
  int bits_;
  bool bfloat16_;
};

}  // namespace

CADDIE_PLUGIN("1.0", quantizer_component<Round>("round", "Round to nearest, a step a row", 1, kOptions8),
              quantizer_component<Round>("int8", "Round to 8 bits, a step a row", 1, kOptions8),
              quantizer_component<Round>("int6", "Round to 6 bits, a step a row", 1, kOptions6),
              quantizer_component<Round>("int5", "Round to 5 bits, a step a row", 1, kOptions5))
