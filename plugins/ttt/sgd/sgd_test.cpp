// Against a hand-written SGD in double precision: rates, clipping by the global norm, momentum over chunks, batches.
#include "sgd.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

Options options(double rate, std::int64_t epochs, std::int64_t batch, double momentum, double clip,
                const std::string& schedule = "cosine") {
  return Options({{"learning_rate", rate}, {"epochs", epochs}, {"batch", batch}, {"momentum", momentum}, {"clip", clip},
                  {"schedule", schedule}});
}

// Gradients are parameter * scale + mean of the rows' inputs, for two parameters of different sizes.
class Quadratic final : public Learner {
 public:
  Quadratic() {
    parameters_ = {{"a", at::tensor({1.0f, -2.0f, 3.0f}), Role::vector, "control", -1},
                   {"b", at::tensor({0.5f, 4.0f}).view({1, 2}), Role::matrix, "mlp", 0}};
  }
  std::span<const Parameter> parameters() override { return parameters_; }
  double gradients(const at::Tensor& inputs, const at::Tensor&, std::vector<at::Tensor>& out) override {
    const double mean = inputs.to(at::kDouble).mean().item<double>();
    means.push_back(mean);
    out.clear();
    for (const auto& parameter : parameters_) out.push_back(parameter.tensor.mul(0.7).add(mean));
    return 1.0;
  }
  std::vector<double> means;  // one a call: which rows came, in which order

 private:
  std::vector<Parameter> parameters_;
};

struct Oracle {
  std::vector<double> p{1.0, -2.0, 3.0, 0.5, 4.0}, v = std::vector<double>(5, 0.0);
  void step(double mean, double rate, double momentum, double clip) {
    std::vector<double> g(5);
    double squares = 0;
    for (std::size_t i = 0; i < 5; ++i) {
      g[i] = 0.7 * p[i] + mean;
      squares += g[i] * g[i];
    }
    const double factor = clip > 0 ? std::min(1.0, clip / (std::sqrt(squares) + 1e-6)) : 1.0;
    for (std::size_t i = 0; i < 5; ++i) {
      v[i] = momentum * v[i] + factor * g[i];
      p[i] -= rate * v[i];
    }
  }
};

ScoredChunk chunk_of(std::int64_t index, std::int64_t count, std::int64_t rows) {
  at::Tensor inputs = at::zeros({rows, 2}, at::kLong);
  for (std::int64_t row = 0; row < rows; ++row) inputs[row].fill_(index + row);
  return {index, count, inputs, inputs.add(1)};
}

void check(Quadratic& learner, const Oracle& oracle) {
  for (std::int64_t i = 0; i < 3; ++i) {
    CHECK(learner.parameters()[0].tensor[i].item<double>() ==
          Approx(oracle.p[static_cast<std::size_t>(i)]).epsilon(1e-5));
  }
  for (std::int64_t i = 0; i < 2; ++i) {
    CHECK(learner.parameters()[1].tensor[0][i].item<double>() ==
          Approx(oracle.p[static_cast<std::size_t>(3 + i)]).epsilon(1e-5));
  }
}

}  // namespace

TEST_CASE("two chunks with clipping and momentum equal the oracle") {
  for (const double clip : {0.0, 1.0, 1000.0}) {
    caddie_sgd::Sgd sgd(options(0.05, 3, 2, 0.9, clip), {nullptr});
    Quadratic learner;
    Oracle oracle;
    for (std::int64_t index = 0; index < 2; ++index) {
      sgd.adapt(chunk_of(index, 4, 5), learner);
      const double rate = 0.05 * 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(index) / 3));
      for (int epoch = 0; epoch < 3; ++epoch) {
        for (const double mean : {0.5, 2.5, 4.0}) {  // rows 0 1, 2 3, and 4 alone
          oracle.step(static_cast<double>(index) + mean, rate, 0.9, clip);
        }
      }
    }
    check(learner, oracle);
    CHECK(learner.means.size() == 18);
    CHECK(learner.means[2] == 4.0);
  }
}

TEST_CASE("momentum lives on from chunk to chunk") {
  // Without gradients of its own, the second chunk still moves along the first one's velocity.
  const auto steady = [] { return caddie_sgd::Sgd(options(0.05, 1, 8, 0.9, 0, "constant"), {nullptr}); };
  caddie_sgd::Sgd one = steady(), fresh = steady(), restarted = steady();
  Quadratic learner, other;
  one.adapt(chunk_of(0, 3, 1), learner);
  fresh.adapt(chunk_of(0, 3, 1), other);
  one.adapt(chunk_of(1, 3, 1), learner);
  restarted.adapt(chunk_of(1, 3, 1), other);
  Oracle oracle;
  oracle.step(0, 0.05, 0.9, 0);
  oracle.step(1, 0.05, 0.9, 0);
  check(learner, oracle);
  CHECK_FALSE(learner.parameters()[0].tensor.allclose(other.parameters()[0].tensor, 1e-3, 1e-3));
}

TEST_CASE("the rate falls by a cosine over the chunks") {
  caddie_sgd::Sgd cosine(options(0.003, 1, 1, 0.9, 1), {nullptr});
  CHECK(cosine.rate(0, 7) == Approx(0.003));
  CHECK(cosine.rate(1, 7) == Approx(0.002799038105676658));
  CHECK(cosine.rate(3, 7) == Approx(0.0015));
  CHECK(cosine.rate(6, 7) == Approx(0.0).margin(1e-15));
  CHECK(cosine.rate(0, 1) == Approx(0.003));
  caddie_sgd::Sgd constant(options(0.003, 1, 1, 0.9, 1, "constant"), {nullptr});
  CHECK(constant.rate(5, 7) == 0.003);
}

TEST_CASE("a stop is obeyed between two steps") {
  class Stopping final : public Services {
   public:
    void log(LogLevel, std::string_view) override {}
    bool cancelled() const override { return ++asked_ > 2; }
    int threads() const override { return 1; }

   private:
    mutable int asked_ = 0;
  } services;
  caddie_sgd::Sgd sgd(options(0.05, 20, 1, 0.9, 1), {&services});
  Quadratic learner;
  try {
    sgd.adapt(chunk_of(0, 2, 4), learner);
    FAIL("it went on");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::interrupted);
  }
  CHECK(learner.means.size() == 2);
}
