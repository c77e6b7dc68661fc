// The quantizer `gptq`: weights that share an input are stacked, factorised once and rounded together.
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <algorithm>

#include "batch.h"
#include "caddie/error.h"
#include "caddie/quantizer.h"
#include "caddie/row_codes.h"

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
    const auto group = prepared(weights, calibration, at::kCPU);
    check_finite({&group, 1});
    const auto factor = gptq::factorize(group.job.hessian, settings_);
    if (!factor) return kept(group);
    const auto rows = gptq::quantize_rows(group.job.rows, group.job.steps, *factor, settings_);
    return results(group, rows.codes, factor->damping);
  }

  // On a GPU all matrices of a width together.
  std::vector<std::vector<QuantizedTensor>> quantize_groups(std::span<const WeightGroup> groups) override {
    const bool on_device = std::all_of(groups.begin(), groups.end(), [](const WeightGroup& group) {
      return !group.weights.empty() && !group.weights[0].value.is_cpu();
    });
    if (groups.empty() || !on_device) return Quantizer::quantize_groups(groups);
    std::vector<Group> all;
    std::vector<gptq::Job> jobs;
    for (const auto& group : groups) {
      all.push_back(prepared(group.weights, group.calibration, group.weights[0].value.device()));
      jobs.push_back(all.back().job);
    }
    check_finite(all);
    const auto outcomes = gptq::quantize_jobs(jobs, settings_);
    std::vector<std::vector<QuantizedTensor>> done;
    for (std::size_t i = 0; i < all.size(); ++i)
      done.push_back(outcomes[i] ? results(all[i], outcomes[i]->codes, outcomes[i]->damping) : kept(all[i]));
    return done;
  }

  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    const auto codes = expected_row_codes(settings_.bits, rows, columns, steps_);
    const auto extra = expected_low_rank(rows, columns, low_rank_, low_rank_int8_);
    return {codes.raw_bytes + extra.raw_bytes, codes.entropy_bytes + extra.entropy_bytes};
  }

 private:
  // Weights of one input, stacked.
  struct Group {
    std::span<const Weight> weights;
    std::vector<at::Tensor> values;
    gptq::Job job;
  };

  Group prepared(std::span<const Weight> weights, const Calibration* calibration, at::Device device) const {
    CADDIE_CHECK(calibration != nullptr, ErrorKind::failed, "GPTQ was given no calibration for '", weights[0].name, "'");
    Group group{weights, {}, {calibration->hessian().to(device, at::kFloat).contiguous(), {}, {}}};
    const auto& hessian = group.job.hessian;
    std::vector<at::Tensor> steps;
    for (const auto& weight : weights) {
      CADDIE_CHECK(weight.value.dim() == 2, ErrorKind::usage, "the weight '", weight.name, "' has ", weight.value.dim(),
                   " dimensions, GPTQ takes 2");
      CADDIE_CHECK(hessian.dim() == 2 && hessian.size(0) == hessian.size(1) && hessian.size(0) == weight.value.size(1),
                   ErrorKind::failed, "the Hessian of '", weight.name, "' is ", hessian.sizes(), ", the weight is ",
                   weight.value.sizes());
      auto value = weight.value.to(device, at::kFloat).contiguous();
      group.values.push_back(bfloat16_ ? value.to(at::kBFloat16).to(at::kFloat) : value);
      steps.push_back(row_steps(group.values.back(), settings_.bits, steps_));
    }
    const bool one = steps.size() == 1;
    group.job.rows = one ? group.values[0] : at::cat(group.values);
    group.job.steps = one ? steps[0] : at::cat(steps);
    return group;
  }

  // The device is asked once.
  static void check_finite(std::span<const Group> groups) {
    std::vector<at::Tensor> flags;
    for (const auto& group : groups) {
      for (const auto& value : group.values) flags.push_back(value.isfinite().all());
      flags.push_back(group.job.hessian.isfinite().all());
    }
    const auto finite = at::stack(flags).cpu();
    const bool* flag = finite.const_data_ptr<bool>();
    for (const auto& group : groups) {
      for (const auto& weight : group.weights)
        CADDIE_CHECK(*flag++, ErrorKind::failed, "the weight '", weight.name, "' is not finite");
      CADDIE_CHECK(*flag++, ErrorKind::failed, "the calibration of '", group.weights[0].name,
                   "' is not finite: the model's activations overflow");
    }
  }

  std::vector<QuantizedTensor> results(const Group& group, const at::Tensor& codes, double damping) const {
    std::vector<QuantizedTensor> done;
    std::int64_t first = 0;
    for (const auto& value : group.values) {
      const auto count = value.size(0);
      done.push_back({Encoding::row_codes, codes.narrow(0, first, count), group.job.steps.narrow(0, first, count),
                      settings_.bits, bfloat16_, concat("damping ", damping)});
      // Errors of a column matter as much as its inputs are large.
      if (low_rank_ > 0) add_low_rank(done.back(), value, low_rank_, low_rank_int8_, group.job.hessian.diagonal());
      first += count;
    }
    return done;
  }

  // What the reference does when no damping works: the weights stay as they are.
  std::vector<QuantizedTensor> kept(const Group& group) const {
    std::vector<QuantizedTensor> done;
    for (std::size_t i = 0; i < group.values.size(); ++i) {
      if (services_)
        services_->log(LogLevel::warning, concat("gptq: no damping makes the Hessian of ", group.weights[i].name,
                                                 " positive definite; it is kept in float32"));
      done.push_back({Encoding::plain, group.values[i].clone(), {}, 0, false, "kept: no damping worked"});
    }
    return done;
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
