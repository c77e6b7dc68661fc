// Round to nearest, one step a row: from the row's largest magnitude (reference section 4), or by another rule; with a
// low-rank residual if wanted. `int8`, `int6` and `int5` are the same quantizer with other default bits.
#include "caddie/error.h"
#include "caddie/quantizer.h"
#include "caddie/row_codes.h"

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
#define ROUND_OPTIONS(bits) \
  {bits_option(bits), kBfloat16, kStepsOption, kSigmasOption, kClipsOption, kRankOption, kRankTypeOption}
constexpr OptionSpec kOptions8[] = ROUND_OPTIONS("8");
constexpr OptionSpec kOptions6[] = ROUND_OPTIONS("6");
constexpr OptionSpec kOptions5[] = ROUND_OPTIONS("5");

class Round final : public Quantizer {
 public:
  Round(const Options& options, const QuantizerContext&)
      : bits_(static_cast<int>(options.integer("bits"))),
        bfloat16_(options.boolean("bfloat16")),
        steps_(step_settings(options)),
        low_rank_(options.integer("low_rank")),
        low_rank_int8_(options.text("low_rank_dtype") == "int8") {}

  bool needs_calibration() const override { return false; }

  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration*) override {
    std::vector<QuantizedTensor> results;
    for (const auto& weight : weights) {
      CADDIE_CHECK(weight.value.dim() == 2, ErrorKind::usage, "the weight '", weight.name, "' has ", weight.value.dim(),
                   " dimensions, rounding per row takes 2");
      CADDIE_CHECK(weight.value.isfinite().all().item<bool>(), ErrorKind::failed, "the weight '", weight.name,
                   "' is not finite");
      const auto value = bfloat16_ ? weight.value.to(at::kBFloat16).to(at::kFloat) : weight.value.to(at::kFloat);
      const auto steps = row_steps(value, bits_, steps_);
      results.push_back({Encoding::row_codes, round_rows(value, steps, bits_), steps, bits_, bfloat16_, {}});
      add_low_rank(results.back(), value, low_rank_, low_rank_int8_);
    }
    return results;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    const auto codes = expected_row_codes(bits_, rows, columns, steps_);
    const auto extra = expected_low_rank(rows, columns, low_rank_, low_rank_int8_);
    return {codes.raw_bytes + extra.raw_bytes, codes.entropy_bytes + extra.entropy_bytes};
  }

 private:
  int bits_;
  bool bfloat16_;
  StepSettings steps_;
  std::int64_t low_rank_;
  bool low_rank_int8_;
};

}  // namespace

CADDIE_PLUGIN("1.0", quantizer_component<Round>("round", "Round to nearest, a step a row", 1, kOptions8),
              quantizer_component<Round>("int8", "Round to 8 bits, a step a row", 1, kOptions8),
              quantizer_component<Round>("int6", "Round to 6 bits, a step a row", 1, kOptions6),
              quantizer_component<Round>("int5", "Round to 5 bits, a step a row", 1, kOptions5))
