// Ternary weights (BitNet b1.58, arXiv 2402.17764): codes -1, 0, 1 and the mean magnitude of a group as its step.
#include <ATen/ops/full.h>
#include <ATen/ops/pad.h>

#include "caddie/error.h"
#include "caddie/quantizer.h"
#include "caddie/row_codes.h"

namespace {

using namespace caddie;

constexpr OptionSpec kOptions[] = {
    {"group", OptionType::integer, "128", "0", "1048576", nullptr,
     "columns that share a step; a row is divided evenly into groups of at most so many; 0: a row has one step"},
    kRankOption,
    kRankTypeOption,
};

class Ternary final : public Quantizer {
 public:
  Ternary(const Options& options, const QuantizerContext&)
      : group_(options.integer("group")),
        low_rank_(options.integer("low_rank")),
        low_rank_int8_(options.text("low_rank_dtype") == "int8") {}

  bool needs_calibration() const override { return false; }

  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration*) override {
    std::vector<QuantizedTensor> results;
    for (const auto& weight : weights) {
      CADDIE_CHECK(weight.value.dim() == 2, ErrorKind::usage, "the weight '", weight.name, "' has ", weight.value.dim(),
                   " dimensions, ternary codes take 2");
      CADDIE_CHECK(weight.value.isfinite().all().item<bool>(), ErrorKind::failed, "the weight '", weight.name,
                   "' is not finite");
      const auto value = weight.value.to(at::kFloat);
      const auto steps = mean_magnitudes(value);
      results.push_back({Encoding::row_codes, round_rows(value, steps, 2), steps, 2, false, {}});
      add_low_rank(results.back(), value, low_rank_, low_rank_int8_);
    }
    return results;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    constexpr double kMeanMagnitude = 0.7978845608;  // of normal numbers: sqrt(2 / pi)
    const auto codes = expected_codes(gaussian_code_bits(2, kMeanMagnitude), rows, columns,
                                      rows * step_groups(columns, group_));
    const auto extra = expected_low_rank(rows, columns, low_rank_, low_rank_int8_);
    return {codes.raw_bytes + extra.raw_bytes, codes.entropy_bytes + extra.entropy_bytes};
  }

 private:
  // [R], or [R, G]; the last group may have fewer columns.
  at::Tensor mean_magnitudes(const at::Tensor& value) const {
    const auto rows = value.size(0), columns = value.size(1), groups = step_groups(columns, group_);
    const auto magnitude = value.abs();
    if (groups == 1) return magnitude.mean(1).clamp_min(1e-12);
    const auto width = (columns + groups - 1) / groups, last = columns - (groups - 1) * width;
    auto counts = at::full({groups}, static_cast<double>(width), value.options());
    counts[groups - 1] = static_cast<double>(last);
    const auto padded = at::pad(magnitude, {0, groups * width - columns}).view({rows, groups, width});
    return padded.sum(2).div(counts).clamp_min(1e-12);
  }

  std::int64_t group_, low_rank_;
  bool low_rank_int8_;
};

}  // namespace

CADDIE_PLUGIN("1.0", quantizer_component<Ternary>("ternary", "Codes -1, 0, 1, the mean magnitude as step", 1, kOptions))
