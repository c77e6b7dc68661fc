// Against adapters written out by hand, and the promise that a reset leaves no trace.
#include "lora.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

Options options(const std::map<std::string, Options::Value>& changes = {}) {
  std::map<std::string, Options::Value> values{
      {"adapt", std::string("matrix")}, {"rank", std::int64_t{2}}, {"alpha", 6.0}, {"learning_rate", 0.05},
      {"epochs", std::int64_t{1}}, {"batch", std::int64_t{4}}, {"beta1", 0.0}, {"beta2", 0.999},
      {"weight_decay", 0.0}, {"clip", 0.0}, {"reset", std::string("document")}, {"schedule", std::string("constant")}};
  for (const auto& [key, value] : changes) values[key] = value;
  return Options(values);
}

// A fixed target for two matrices: the loss is half of the squared distance, the gradient the difference.
class Distance final : public Learner {
 public:
  Distance() {
    at::manual_seed(5);
    parameters_ = {{"scale", at::randn({4, 3}), Role::vector, "control", -1},
                   {"blocks.0.up.weight", at::randn({6, 5}), Role::matrix, "mlp", 0},
                   {"blocks.0.query.weight", at::randn({4, 5}), Role::matrix, "attention", 0}};
    for (const auto& parameter : parameters_) {
      before.push_back(parameter.tensor.clone());
      targets.push_back(at::randn(parameter.tensor.sizes()));
    }
  }
  std::span<const Parameter> parameters() override { return parameters_; }
  double gradients(const at::Tensor&, const at::Tensor&, std::vector<at::Tensor>& out) override {
    ++calls;
    out.clear();
    double loss = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      out.push_back(parameters_[i].tensor.sub(targets[i]));
      loss += out.back().square().sum().item<double>() / 2;
    }
    return loss;
  }
  double loss() {
    std::vector<at::Tensor> ignored;
    --calls;
    return gradients({}, {}, ignored);
  }
  int calls = 0;
  std::vector<at::Tensor> before, targets;

 private:
  std::vector<Parameter> parameters_;
};

ScoredChunk chunk(std::int64_t index, bool ends = false, std::int64_t rows = 3) {
  const at::Tensor inputs = at::zeros({rows, 4}, at::kLong);
  return {index, 9, inputs, inputs, ends};
}

}  // namespace

TEST_CASE("the first step moves B alone, by the rate, along the sign of its gradient") {
  lora::Lora strategy(options(), {nullptr});
  Distance learner;
  strategy.adapt(chunk(0), learner);
  CHECK(learner.calls == 1);
  CHECK(at::equal(learner.parameters()[0].tensor, learner.before[0]));  // no matrix
  // B = -rate sign(G A^T) after one step of Adam without a first moment, so W - base = s B A has A's rows as its basis:
  // all entries of B are +-rate, whatever the gradients' sizes.
  for (const std::size_t i : {1u, 2u}) {
    const auto moved = learner.parameters()[i].tensor.sub(learner.before[i]);
    CHECK(moved.abs().max().item<double>() > 0);
    const auto gradient = learner.before[i].sub(learner.targets[i]);
    CHECK(moved.mul(gradient).sum().item<double>() < 0);  // downhill
  }
}

TEST_CASE("several steps are those of adapters written out") {
  // Rank 1 and one matrix: A and B by hand, in double, from A's start, which the first step's move tells.
  lora::Lora strategy(options({{"rank", std::int64_t{1}}, {"alpha", 2.0}, {"adapt", std::string("mlp")}}), {nullptr});
  Distance learner;
  const auto base = learner.before[1].to(at::kDouble), target = learner.targets[1].to(at::kDouble);
  Random random(1, "low-rank adapter of blocks.0.up.weight");
  auto a = at::zeros({1, 5}, at::kDouble), b = at::zeros({6, 1}, at::kDouble);
  for (std::int64_t i = 0; i < 5; ++i) a[0][i] = static_cast<float>(random.normal() / std::sqrt(5.0));
  auto va = at::zeros_like(a), vb = at::zeros_like(b);
  for (int step = 1; step <= 4; ++step) {
    strategy.adapt(chunk(step), learner);
    const auto gradient = base.add(b.mm(a).mul(2)).sub(target);
    const auto ga = b.t().mm(gradient).mul(2), gb = gradient.mm(a.t()).mul(2);
    const double correction = 1 - std::pow(0.999, step);
    va = va.mul(0.999).add(ga.square().mul(0.001));
    vb = vb.mul(0.999).add(gb.square().mul(0.001));
    a = a.sub(ga.div(va.div(correction).sqrt().add(1e-8)).mul(0.05));
    b = b.sub(gb.div(vb.div(correction).sqrt().add(1e-8)).mul(0.05));
    const auto expected = base.add(b.mm(a).mul(2));
    CHECK(learner.parameters()[1].tensor.to(at::kDouble).sub(expected).abs().max().item<double>() < 2e-5);
  }
  CHECK(at::equal(learner.parameters()[2].tensor, learner.before[2]));  // another group
}

TEST_CASE("a reset leaves the weights as they were, bit for bit, and the last chunk of a document trains nothing") {
  lora::Lora strategy(options(), {nullptr});
  Distance learner;
  const double before = learner.loss();
  for (int i = 0; i < 5; ++i) strategy.adapt(chunk(i), learner);
  CHECK(learner.loss() < before);
  const int calls = learner.calls;
  strategy.adapt(chunk(5, true), learner);
  CHECK(learner.calls == calls);
  strategy.end_document(learner);
  for (const std::size_t i : {0u, 1u, 2u}) CHECK(at::equal(learner.parameters()[i].tensor, learner.before[i]));
  strategy.adapt(chunk(6), learner);  // and it learns again
  CHECK_FALSE(at::equal(learner.parameters()[1].tensor, learner.before[1]));

  lora::Lora keeping(options({{"reset", std::string("never")}}), {nullptr});
  Distance other;
  keeping.adapt(chunk(0, true), other);
  keeping.end_document(other);
  CHECK(other.calls == 1);
  CHECK_FALSE(at::equal(other.parameters()[1].tensor, other.before[1]));
}

TEST_CASE("what is moved has the adapters' rank, and no matrix at all is refused") {
  lora::Lora strategy(options({{"reset", std::string("never")}, {"rank", std::int64_t{2}}}), {nullptr});
  Distance learner;
  for (int i = 0; i < 6; ++i) strategy.adapt(chunk(i), learner);
  const auto moved = learner.parameters()[1].tensor.sub(learner.before[1]).to(at::kDouble);
  const auto gram = moved.mm(moved.t());  // its third largest minor vanishes: rank 2
  CHECK(gram.trace().item<double>() > 0);
  const auto minor = gram.narrow(0, 0, 3).narrow(1, 0, 3);
  const double determinant =
      minor[0].dot(minor[1].roll(-1).mul(minor[2].roll(-2)).sub(minor[1].roll(-2).mul(minor[2].roll(-1)))).item<double>();
  CHECK(std::abs(determinant) < 1e-6 * std::pow(gram.trace().item<double>(), 3));
  lora::Lora nothing(options({{"adapt", std::string("embedding")}}), {nullptr});
  CHECK_THROWS_WITH(nothing.adapt(chunk(0), learner), Catch::Contains("matches no matrix"));
}
