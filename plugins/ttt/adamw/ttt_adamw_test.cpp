// Against AdamW written out in double precision: moments over chunks, factors by name, clipping, decay.
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>

#include "adamw.h"
#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

Options options(double decay, double clip, const std::string& rates) {
  return Options({{"learning_rate", 0.05}, {"rates", rates}, {"epochs", std::int64_t{2}}, {"batch", std::int64_t{2}},
                  {"beta1", 0.8}, {"beta2", 0.95}, {"epsilon", 1e-6}, {"weight_decay", decay}, {"clip", clip},
                  {"schedule", std::string("cosine")}});
}

// Gradients are parameter * scale + mean of the rows' inputs.
class Quadratic final : public Learner {
 public:
  Quadratic() {
    parameters_ = {{"blocks.0.a", at::tensor({1.0f, -2.0f, 3.0f}), Role::vector, "control", 0},
                   {"blocks.0.b.weight", at::tensor({0.5f, 4.0f}).view({1, 2}), Role::matrix, "mlp", 0}};
  }
  std::span<const Parameter> parameters() override { return parameters_; }
  double gradients(const at::Tensor& inputs, const at::Tensor&, std::vector<at::Tensor>& out) override {
    means.push_back(inputs.to(at::kDouble).mean().item<double>());
    out.clear();
    for (const auto& parameter : parameters_) out.push_back(parameter.tensor.mul(0.7).add(means.back()));
    return 1.0;
  }
  std::vector<double> values() const {
    std::vector<double> all;
    for (const auto& parameter : parameters_)
      for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i)
        all.push_back(parameter.tensor.reshape({-1})[i].item<double>());
    return all;
  }
  std::vector<double> means;

 private:
  std::vector<Parameter> parameters_;
};

ScoredChunk chunk_of(std::int64_t index, std::int64_t count, std::int64_t rows) {
  at::Tensor inputs = at::zeros({rows, 2}, at::kLong);
  for (std::int64_t row = 0; row < rows; ++row) inputs[row].fill_(index + row);
  return {index, count, inputs, inputs.add(1)};
}

}  // namespace

TEST_CASE("two chunks equal AdamW written out, with factors by name") {
  const double factors[] = {1, 1, 1, 3, 3};
  for (const double clip : {0.0, 0.5})
    for (const double decay : {0.0, 0.3}) {
      INFO("clip " << clip << ", decay " << decay);
      ttt_adamw::AdamW strategy(options(decay, clip, "*.b.weight = 3"), {nullptr});
      Quadratic learner;
      std::vector<double> p = learner.values(), m(5, 0.0), v(5, 0.0);
      int steps = 0;
      for (std::int64_t index = 0; index < 2; ++index) {
        learner.means.clear();
        strategy.adapt(chunk_of(index, 4, 3), learner);
        CHECK(learner.means.size() == 4);  // 2 epochs of 2 batches
        const double rate = 0.05 * 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(index) / 3));
        CHECK(strategy.rate(index, 4) == Approx(rate));
        for (const double mean : learner.means) {
          ++steps;
          std::vector<double> g(5);
          double squares = 0;
          for (std::size_t i = 0; i < 5; ++i) squares += (g[i] = 0.7 * p[i] + mean) * g[i];
          const double factor = clip > 0 ? std::min(1.0, clip / (std::sqrt(squares) + 1e-6)) : 1.0;
          for (std::size_t i = 0; i < 5; ++i) {
            g[i] *= factor;
            m[i] = 0.8 * m[i] + 0.2 * g[i];
            v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
            const double mean1 = m[i] / (1 - std::pow(0.8, steps)), mean2 = v[i] / (1 - std::pow(0.95, steps));
            p[i] = p[i] * (1 - rate * factors[i] * decay) - rate * factors[i] * mean1 / (std::sqrt(mean2) + 1e-6);
          }
        }
      }
      const auto values = learner.values();
      for (std::size_t i = 0; i < 5; ++i) CHECK(values[i] == Approx(p[i]).epsilon(2e-5));
    }
}

TEST_CASE("a factor of 0 freezes, the first pattern that matches counts, a pattern of nothing is refused") {
  Quadratic learner;
  const auto before = learner.values();
  ttt_adamw::AdamW frozen(options(0.1, 0, "mlp=0, *=1"), {nullptr});
  frozen.adapt(chunk_of(0, 4, 3), learner);
  const auto after = learner.values();
  CHECK(after[4] == before[4]);
  CHECK(after[0] != before[0]);
  ttt_adamw::AdamW nothing(options(0, 0, "attention=2"), {nullptr});
  CHECK_THROWS_WITH(nothing.adapt(chunk_of(0, 4, 3), learner), Catch::Contains("'attention' matches no parameter"));
}

TEST_CASE("lists of rates that are none are refused") {
  for (const char* text : {"mlp", "mlp=", "=3", "mlp=x", "mlp=-1", "mlp=1e999", "a=1,,b=2"})
    CHECK_THROWS_AS(ttt_adamw::parse_rates(text), Error);
  CHECK(ttt_adamw::parse_rates("").empty());
  const auto rules = ttt_adamw::parse_rates(" a.*=0.5 ,b=3");
  REQUIRE(rules.size() == 2);
  CHECK(rules[0].match == "a.*");
  CHECK(rules[1].factor == 3);
}
