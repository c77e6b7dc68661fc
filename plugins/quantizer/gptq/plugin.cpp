// The quantizer `gptq`: weights that share an input are stacked, factorised once and rounded together.
#include <ATen/ops/cat.h>

#include "caddie/error.h"
#include "caddie/quantizer.h"
#include "caddie/row_codes.h"
#include "gptq.h"

namespace {

using namespace caddie;

constexpr OptionSpec kOptions[] = {
    {"bits", OptionType::integer, "5", "2", "8", nullptr,
     "bits a code; codes go from -top to top, top = 2^(bits-1) - 1"},
    {"block", OptionType::integer, "128", "1", "65536", nullptr, "columns a block; a matter of speed"},
    {"damping", OptionType::numbers, "[0.01, 0.1, 1.0]", "0", "1000", nullptr,
     "share of the Hessian's mean diagonal added to it; the next one is tried when a factorisation fails"},
    {"order", OptionType::text, "\"descending\"", nullptr, nullptr, "descending|natural",
     "columns by descending diagonal of the Hessian, or as they are"},
    {"bfloat16", OptionType::boolean, "false", nullptr, nullptr, nullptr,
     "round to bfloat16 before and after, as for weights that rest in bfloat16"},
    kStepsOption,
    kSigmasOption,
    kClipsOption,
    kRankOption,
    kRankTypeOption,
};

class Gptq final : public Quantizer {
 public:
  Gptq(const Options& options, const QuantizerContext& context) : services_(context.services) {
    settings_.bits = static_cast<int>(options.integer("bits"));
    settings_.block = options.integer("block");
    settings_.damping = options.numbers("damping");
    settings_.descending = options.text("order") == "descending";
    bfloat16_ = options.boolean("bfloat16");
    steps_ = step_settings(options);
    low_rank_ = options.integer("low_rank");
    low_rank_int8_ = options.text("low_rank_dtype") == "int8";
    CADDIE_CHECK(!settings_.damping.empty(), ErrorKind::usage,
                 "'damping' is an empty list, at least one share is needed");
  }

  bool needs_calibration() const override { return true; }

  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration* calibration) override {
    if (weights.empty()) return {};
    CADDIE_CHECK(calibration != nullptr, ErrorKind::failed, "GPTQ was given no calibration for '", weights[0].name,
                 "'");
    const auto hessian = calibration->hessian().to(at::kCPU, at::kFloat).contiguous();
    std::vector<at::Tensor> values, steps;
    for (const auto& weight : weights) {
      values.push_back(checked(weight, hessian));
      if (bfloat16_) values.back() = values.back().to(at::kBFloat16).to(at::kFloat);
      steps.push_back(row_steps(values.back(), settings_.bits, steps_));
    }
    CADDIE_CHECK(hessian.isfinite().all().item<bool>(), ErrorKind::failed, "the calibration of '", weights[0].name,
                 "' is not finite: the model's activations overflow");
    const auto factor = gptq::factorize(hessian, settings_);
    if (!factor) return kept(weights, values);
    const bool one = values.size() == 1;
    const auto rows = gptq::quantize_rows(one ? values[0] : at::cat(values), one ? steps[0] : at::cat(steps), *factor,
                                          settings_);
    std::vector<QuantizedTensor> results;
    std::int64_t first = 0;
    for (const auto& value : values) {
      const auto count = value.size(0);
      results.push_back({Encoding::row_codes, rows.codes.narrow(0, first, count), rows.steps.narrow(0, first, count),
                         settings_.bits, bfloat16_, concat("damping ", factor->damping)});
      // Errors of a column matter as much as its inputs are large.
      if (low_rank_ > 0) add_low_rank(results.back(), value, low_rank_, low_rank_int8_, hessian.diagonal());
      first += count;
    }
    return results;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    const auto codes = expected_row_codes(settings_.bits, rows, columns, steps_);
    const auto extra = expected_low_rank(rows, columns, low_rank_, low_rank_int8_);
    return {codes.raw_bytes + extra.raw_bytes, codes.entropy_bytes + extra.entropy_bytes};
  }

 private:
  static at::Tensor checked(const Weight& weight, const at::Tensor& hessian) {
    CADDIE_CHECK(weight.value.dim() == 2, ErrorKind::usage, "the weight '", weight.name, "' has ", weight.value.dim(),
                 " dimensions, GPTQ takes 2");
    CADDIE_CHECK(hessian.dim() == 2 && hessian.size(0) == hessian.size(1) && hessian.size(0) == weight.value.size(1),
                 ErrorKind::failed, "the Hessian of '", weight.name, "' is ", hessian.sizes(), ", the weight is ",
                 weight.value.sizes());
    auto value = weight.value.to(at::kCPU, at::kFloat).contiguous();
    CADDIE_CHECK(value.isfinite().all().item<bool>(), ErrorKind::failed, "the weight '", weight.name,
                 "' is not finite");
    return value;
  }

  // What the reference does when no damping works: the weights stay as they are.
  std::vector<QuantizedTensor> kept(std::span<const Weight> weights, const std::vector<at::Tensor>& values) const {
    std::vector<QuantizedTensor> results;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (services_)
        services_->log(LogLevel::warning, concat("gptq: no damping makes the Hessian of ", weights[i].name,
                                                 " positive definite; it is kept in float32"));
      results.push_back({Encoding::plain, values[i].clone(), {}, 0, false, "kept: no damping worked"});
    }
    return results;
  }

  Services* services_;
  gptq::Settings settings_;
  bool bfloat16_ = false;
  StepSettings steps_;
  std::int64_t low_rank_ = 0;
  bool low_rank_int8_ = true;
};

}  // namespace

CADDIE_PLUGIN("1.0", quantizer_component<Gptq>("gptq", "GPTQ: rounding with error feedback, a step a row", 1, kOptions))
