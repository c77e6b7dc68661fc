// Quantizers: codes in range, steps that decode to something near, expected sizes that come true, hard inputs told.
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "caddie/ops.h"
#include "tests/conformance/suite.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

class Moments final : public Calibration {
 public:
  explicit Moments(at::Tensor hessian) : hessian_(std::move(hessian)) {}
  at::Tensor hessian() const override { return hessian_; }

 private:
  at::Tensor hessian_;
};

// X^T X of correlated inputs; `rows` below the columns gives a matrix that has no inverse.
at::Tensor hessian(std::int64_t columns, std::int64_t rows) {
  const at::Tensor x = normal({rows, columns}, "inputs").matmul(normal({columns, columns}, "mixing"));
  return x.t().matmul(x).div(static_cast<double>(rows));
}

struct Case {
  std::string title;
  std::vector<Weight> weights;  // all of one width
  at::Tensor hessian;
};

std::vector<Case> cases() {
  std::vector<Case> list;
  const auto weight = [](const std::string& name, std::int64_t rows, std::int64_t columns, double deviation) {
    return Weight{name, normal({rows, columns}, name, deviation)};
  };
  list.push_back({"three weights of one input", {weight("q", 24, 48, 0.1), weight("k", 12, 48, 0.1), weight("v", 12, 48, 0.1)}, hessian(48, 200)});
  list.push_back({"odd sizes", {weight("odd", 7, 33, 0.05)}, hessian(33, 100)});
  list.push_back({"one column", {weight("thin", 9, 1, 1)}, hessian(1, 20)});
  list.push_back({"few inputs", {weight("deficient", 16, 40, 0.1)}, hessian(40, 5)});
  list.push_back({"inputs that are always zero", {weight("dead", 16, 40, 0.1)}, at::zeros({40, 40})});
  Case rows{"rows of zeros and of one value", {weight("rows", 6, 16, 0.1)}, hessian(16, 60)};
  rows.weights[0].value[1].zero_();
  rows.weights[0].value[2].fill_(0.25);
  list.push_back(rows);
  Case outlier{"an outlier a hundred times as large", {weight("outlier", 6, 16, 0.1)}, hessian(16, 60)};
  outlier.weights[0].value[3][5] = 10;
  list.push_back(outlier);
  list.push_back({"tiny weights", {weight("tiny", 8, 16, 1e-3)}, hessian(16, 60)});
  return list;
}

std::shared_ptr<Quantizer> make(const std::string& name, const Json& options = Json::object()) {
  static QuietServices services;
  Json section = small_section(PluginKind::quantizer, name);
  section.update(options);
  return catalogue().create_quantizer(section, QuantizerContext{&services});
}

// The defaults, every choice of a text, and a low-rank part, where a quantizer has such options.
std::vector<Json> settings_of(const std::string& name) {
  std::vector<Json> list{Json::object()};
  const Component& component = catalogue().require(PluginKind::quantizer, name);
  for (const OptionSpec& spec : std::span(component.options, component.option_count)) {
    for (std::string_view rest = spec.choices ? spec.choices : ""; !rest.empty();) {
      const auto bar = std::min(rest.find('|'), rest.size());
      list.push_back({{spec.key, rest.substr(0, bar)}});
      rest.remove_prefix(std::min(bar + 1, rest.size()));
    }
    if (std::string_view(spec.key) == "low_rank") list.push_back({{"low_rank", 2}});
  }
  return list;
}

std::vector<QuantizedTensor> quantize(Quantizer& quantizer, const Case& example) {
  const Moments moments(example.hessian);
  return quantizer.quantize(example.weights, quantizer.needs_calibration() ? &moments : nullptr);
}

// tr(E H E^T) of the error E: what the layer's outputs lose.
double output_error(const at::Tensor& weight, const at::Tensor& decoded, const at::Tensor& h) {
  const at::Tensor error = weight.sub(decoded).to(at::kDouble);
  return error.matmul(h.to(at::kDouble)).mul(error).sum().item<double>();
}

void check_form(const QuantizedTensor& result, const Weight& weight) {
  CHECK(result.codes.sizes() == weight.value.sizes());
  CHECK_FALSE(result.codes.requires_grad());
  if (result.encoding == Encoding::plain) {
    const auto type = result.codes.scalar_type();
    CHECK((type == at::kHalf || type == at::kBFloat16 || type == at::kFloat));
    CHECK_FALSE(result.steps.defined());
    CHECK(result.bits == 0);
    return;
  }
  CHECK(result.codes.scalar_type() == at::kChar);
  REQUIRE((result.bits >= 2 && result.bits <= 8));
  const int top = (1 << (result.bits - 1)) - 1;
  CHECK(result.codes.to(at::kInt).abs().max().item<int>() <= top);
  const auto rows = weight.value.size(0), columns = weight.value.size(1);
  REQUIRE((result.steps.dim() == 1 || result.steps.dim() == 2));
  CHECK(result.steps.size(0) == rows);
  if (result.steps.dim() == 2) {  // no group of columns is empty
    const auto groups = result.steps.size(1), width = (columns + groups - 1) / groups;
    CHECK((columns + width - 1) / width == groups);
  }
  CHECK((result.steps.scalar_type() == at::kHalf || result.steps.scalar_type() == at::kFloat));
  CHECK(result.steps.isfinite().all().item<bool>());
  CHECK(result.steps.ge(0).all().item<bool>());
}

}  // namespace

TEST_CASE("quantizer: several groups at once give what each gives alone") {
  for (const std::string& name : components(PluginKind::quantizer)) {
    const auto quantizer = make(name);
    const auto all = cases();
    std::vector<Moments> moments;
    for (const Case& example : all) moments.emplace_back(example.hessian);
    std::vector<WeightGroup> groups;
    for (std::size_t i = 0; i < all.size(); ++i)
      groups.push_back({all[i].weights, quantizer->needs_calibration() ? &moments[i] : nullptr});
    const auto together = quantizer->quantize_groups(groups);
    REQUIRE(together.size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      INFO(name << ": " << all[i].title);
      const auto alone = quantize(*quantizer, all[i]);
      REQUIRE(together[i].size() == alone.size());
      for (std::size_t k = 0; k < alone.size(); ++k) CHECK(together[i][k].codes.equal(alone[k].codes));
    }
  }
}

TEST_CASE("quantizer: results have the promised form, are repeatable, and leave the weights alone") {
  for (const std::string& name : components(PluginKind::quantizer))
    for (const Json& options : settings_of(name)) {
      const auto quantizer = make(name, options);
      for (const Case& example : cases()) {
        INFO(name << " " << options.dump() << ": " << example.title);
        std::vector<at::Tensor> before;
        for (const Weight& weight : example.weights) before.push_back(weight.value.clone());
        const auto results = quantize(*quantizer, example), again = quantize(*make(name, options), example);
        REQUIRE(results.size() == example.weights.size());
        for (std::size_t i = 0; i < results.size(); ++i) {
          check_form(results[i], example.weights[i]);
          CHECK(same_bits(results[i].codes, again[i].codes));
          CHECK(same_bits(results[i].steps, again[i].steps));
          CHECK(same_bits(results[i].low_rank.left, again[i].low_rank.left));
          CHECK(decoded_value(results[i]).isfinite().all().item<bool>());
          CHECK(same_bits(before[i], example.weights[i].value));
        }
      }
    }
}

TEST_CASE("quantizer: decoded weights are near, no farther than rounding allows") {
  for (const std::string& name : components(PluginKind::quantizer)) {
    const auto quantizer = make(name);
    for (const Case& example : cases()) {
      const auto results = quantize(*quantizer, example);
      for (std::size_t i = 0; i < results.size(); ++i) {
        INFO(name << ": " << example.title << ", " << example.weights[i].name);
        const at::Tensor value = example.weights[i].value, decoded = decoded_value(results[i]);
        REQUIRE(decoded.isfinite().all().item<bool>());
        if (results[i].encoding == Encoding::plain) {
          // Two roundings to 8 bits of mantissa at most, and float16's smallest number.
          CHECK(decoded.sub(value).abs().le(value.abs().mul(0.008).add(6e-8)).all().item<bool>());
          continue;
        }
        // Nearest rounding by row, for comparison: a quantizer that looks at inputs may be farther from the weights, but
        // not from the layer's outputs. The floor is for float16 steps.
        const at::Tensor plain = ops::fake_quantize_rows(value, results[i].bits);
        if (quantizer->needs_calibration()) {
          const double floor = 1e-6 * output_error(value, at::zeros(value.sizes()), example.hessian);
          CHECK(output_error(value, decoded, example.hessian) <= 1.05 * output_error(value, plain, example.hessian) + floor);
        } else {
          // The step of every element: what a code of 1 would decode to.
          QuantizedTensor ones = results[i];
          ones.codes = at::full(value.sizes(), 1, at::kChar);
          ones.low_rank = {};
          const at::Tensor half = decoded_value(ones).mul(0.5);
          // The largest code may be cut by the rounding of a float16 step; bfloat16 results are rounded once more. A rule
          // that clips leaves large values at their largest code, which is nearer to 0.
          const at::Tensor slack = value.abs().mul(results[i].round_bfloat16 ? 0.008 : 0.001).add(1e-6);
          const int top = (1 << (results[i].bits - 1)) - 1;
          const at::Tensor clipped = results[i].codes.abs().eq(top).logical_and(decoded.abs().le(value.abs().add(slack)));
          CHECK(decoded.sub(value).abs().le(half.add(slack)).logical_or(clipped).all().item<bool>());
        }
      }
    }
  }
}

TEST_CASE("quantizer: the expected size comes true") {
  for (const std::string& name : components(PluginKind::quantizer))
    for (const Json& options : settings_of(name)) {
      INFO(name << " " << options.dump());
      const auto quantizer = make(name, options);
      const Case example{"large", {{"w", normal({96, 256}, "large", 0.05)}}, hessian(256, 600)};
      const auto result = quantize(*quantizer, example).at(0);
      double bytes = static_cast<double>(result.codes.nbytes());
      if (result.steps.defined()) bytes += static_cast<double>(result.steps.numel() * 2);  // stored as float16
      if (result.low_rank.left.defined())
        bytes += static_cast<double>(result.low_rank.left.nbytes() + result.low_rank.right.nbytes() + 4 * result.low_rank.left.size(0));
      const ExpectedSize expected = quantizer->expected_size(96, 256);
      CHECK(expected.raw_bytes == Approx(bytes).epsilon(0.02));
      CHECK(expected.entropy_bytes > 0);
      CHECK(expected.entropy_bytes <= expected.raw_bytes);
    }
}

TEST_CASE("quantizer: no weights, missing calibration and numbers that are none") {
  for (const std::string& name : components(PluginKind::quantizer)) {
    INFO(name);
    const auto quantizer = make(name);
    CHECK(quantizer->quantize({}, nullptr).empty());
    Case example{"a number that is none", {{"w", normal({8, 16}, "w")}}, hessian(16, 60)};
    if (quantizer->needs_calibration()) CHECK_THROWS_AS(quantizer->quantize(example.weights, nullptr), Error);
    example.weights[0].value[2][3] = std::nan("");
    // Told, or kept where it is: never turned into a number that looks good.
    try {
      const auto results = quantize(*quantizer, example);
      CHECK(std::isnan(decoded_value(results.at(0))[2][3].item<float>()));
    } catch (const Error&) {
      SUCCEED("told");
    }
  }
}
