// The quantizer `gptq`: weights that share an input are stacked, factorised once and rounded together.
#include <ATen/ops/cat.h>

#include "caddie/error.h"
#include "caddie/quantizer.h"
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
};

class Gptq final : public Quantizer {
 public:
  Gptq(const Options& options, const QuantizerContext& context) : services_(context.services) {
    settings_.bits = static_cast<int>(options.integer("bits"));
    settings_.block = options.integer("block");
    settings_.damping = options.numbers("damping");
    settings_.descending = options.text("order") == "descending";
    CADDIE_CHECK(!settings_.damping.empty(), ErrorKind::usage,
                 "'damping' is an empty list, at least one share is needed");
  }

  bool needs_calibration() const override { return true; }

  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration* calibration) override {
    if (weights.empty()) return {};
    CADDIE_CHECK(calibration != nullptr, ErrorKind::failed, "GPTQ was given no calibration for '", weights[0].name,
                 "'");
    const auto hessian = calibration->hessian().to(at::kCPU, at::kFloat).contiguous();
    std::vector<at::Tensor> values;
    for (const auto& weight : weights) values.push_back(checked(weight, hessian));
    CADDIE_CHECK(hessian.isfinite().all().item<bool>(), ErrorKind::failed, "the calibration of '", weights[0].name,
                 "' is not finite: the model's activations overflow");
    const auto factor = gptq::factorize(hessian, settings_);
    if (!factor) return kept(weights, values);
    const auto rows = gptq::quantize_rows(values.size() == 1 ? values[0] : at::cat(values), *factor, settings_);
    std::vector<QuantizedTensor> results;
    std::int64_t first = 0;
    for (const auto& value : values) {
      const auto count = value.size(0);
      results.push_back({Encoding::row_codes, rows.codes.narrow(0, first, count), rows.steps.narrow(0, first, count),
                         settings_.bits, false, concat("damping ", factor->damping)});
      first += count;
    }
    return results;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    return expected_row_codes(settings_.bits, rows, columns);
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
};

}  // namespace

CADDIE_PLUGIN("1.0", quantizer_component<Gptq>("gptq", "GPTQ: rounding with error feedback, a step a row", 1, kOptions))
