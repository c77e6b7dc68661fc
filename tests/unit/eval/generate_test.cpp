#include "core/eval/generate.h"

#include <ATen/ops/tensor.h>

#include <array>
#include <cmath>

#include "caddie/error.h"
#include "core/eval/paths.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/eval/support.h"

using namespace caddie;
using namespace caddie::eval;
using caddie::tests::TinyModel;

namespace {

at::Tensor prompts() { return caddie::tests::random_text(14, 19).tokens.view({5, 3}).to(at::kLong); }

}  // namespace

TEST_CASE("greedy continuation with the cache is the argmax of full recomputation") {
  TinyModel model(19, 6, 1);
  Random random(1, "unused");
  std::vector<at::Tensor> logits;
  const at::Tensor made = generate(model, prompts(), 9, {.temperature = 0}, random,
                                   [&](std::int64_t, const at::Tensor& l, const at::Tensor&) { logits.push_back(l); });
  at::Tensor sequence = prompts();
  for (std::int64_t step = 0; step < 9; ++step) {
    const at::Tensor full = model.logits(sequence).select(1, -1);
    CHECK(full.allclose(logits[static_cast<std::size_t>(step)], 1e-5, 1e-6));
    const at::Tensor next = full.argmax(1);
    CHECK(next.equal(made.select(1, step)));
    at::Tensor longer = sequence.new_zeros({5, sequence.size(1) + 1});
    longer.narrow(1, 0, sequence.size(1)).copy_(sequence);
    longer.select(1, sequence.size(1)).copy_(next);
    sequence = longer;
  }
}

TEST_CASE("sampling follows the seed and the distribution") {
  TinyModel model(19, 6, 1);
  const auto sample = [&](std::uint64_t seed) {
    Random random(seed, "sample");
    return generate(model, prompts(), 12, {.temperature = 1}, random);
  };
  CHECK(sample(1).equal(sample(1)));
  CHECK_FALSE(sample(1).equal(sample(2)));

  // 40,000 draws from one row of logits.
  const at::Tensor logits = at::tensor({0.0f, 1.0f, -1.0f, 2.0f}).view({1, 4});
  Random random(3, "draws");
  const at::Tensor levels = uniforms(random, 40000, 1);
  for (const double temperature : {1.0, 0.5}) {
    std::array<int, 4> counts{};
    double total = 0;
    for (std::int64_t i = 0; i < 40000; ++i) {
      const at::Tensor picked = pick_tokens(logits, levels.select(0, i), {temperature, 0});
      ++counts[static_cast<std::size_t>(picked.item<std::int64_t>())];
    }
    for (std::int64_t v = 0; v < 4; ++v) total += std::exp(logits[0][v].item<double>() / temperature);
    for (std::int64_t v = 0; v < 4; ++v) {
      const double p = std::exp(logits[0][v].item<double>() / temperature) / total;
      CHECK(std::abs(counts[static_cast<std::size_t>(v)] / 40000.0 - p) < 5 * std::sqrt(p * (1 - p) / 40000.0));
    }
  }
}

TEST_CASE("picking at the edges of the unit interval never leaves the possible tokens") {
  const double inf = std::numeric_limits<double>::infinity();
  const at::Tensor logits = at::tensor({-inf, 0.0, 0.3, 0.1, -inf}, at::kDouble).view({1, 5});
  const auto pick = [&](double u, Sampling sampling) {
    return pick_tokens(logits, at::tensor({u}, at::kDouble), sampling).item<std::int64_t>();
  };
  CHECK(pick(0.0, {1, 0}) == 1);
  CHECK(pick(0x1.fffffffffffffp-1, {1, 0}) == 3);
  CHECK(pick(0.5, {1e-300, 0}) == 2);  // a tiny temperature is the likeliest token
  CHECK(pick(0.0, {1, 2}) == 2);       // the two likeliest are 2 and 3
  CHECK(pick(0x1.fffffffffffffp-1, {1, 2}) == 3);
  CHECK(pick(0.99, {1, 1}) == 2);
  CHECK(pick_tokens(logits, {}, {0, 0}).item<std::int64_t>() == 2);
  CHECK_THROWS_AS(pick(0.5, {-1, 0}), Error);
}

TEST_CASE("forward paths that agree, and one that does not") {
  TinyModel model(19, 6, 1);
  const at::Tensor tokens = caddie::tests::random_text(89, 19).tokens.view({5, 18});
  const PathReport report = compare_paths(model, tokens);
  CHECK(report.path == "tiny float32");
  CHECK(report.largest() < 1e-5);
  CHECK(report.to_json().at("generator").get<double>() < 1e-5);

  // A path that scores with other weights than the rest: training mode left on for one of them.
  class Wrong final : public Model {
   public:
    explicit Wrong(TinyModel& inner) : inner_(inner) {}
    const std::vector<Parameter>& parameters() override { return inner_.parameters(); }
    void initialize(Random& random) override { inner_.initialize(random); }
    void set_fake_quant(std::span<const FakeQuantRule> rules) override { inner_.set_fake_quant(rules); }
    void prepare(bool training) override { inner_.prepare(training); }
    at::Tensor loss(const at::Tensor& tokens_, const at::Tensor& targets) override {
      return inner_.loss(tokens_, targets);
    }
    at::Tensor nats(const at::Tensor& tokens_, const at::Tensor& targets, std::int64_t from) override {
      return inner_.nats(tokens_, targets, from);
    }
    at::Tensor logits(const at::Tensor& tokens_) override { return inner_.logits(tokens_); }
    std::vector<at::Tensor> trace(const at::Tensor& tokens_) override { return inner_.trace(tokens_); }
    std::unique_ptr<Generator> generator(std::int64_t batch, std::int64_t capacity) override {
      // Sees the first token twice: every later position is one off.
      auto result = inner_.generator(batch, capacity + 1);
      result->feed(at::zeros({batch, 1}, at::kLong));
      return result;
    }
    void observe(const at::Tensor& tokens_, LinearObserver& observer) override { inner_.observe(tokens_, observer); }
    std::int64_t activation_bytes(std::int64_t n) const override { return inner_.activation_bytes(n); }
    double training_flops_per_token() const override { return inner_.training_flops_per_token(); }
    std::string path() const override { return "wrong"; }

   private:
    TinyModel& inner_;
  } wrong(model);
  CHECK(compare_paths(wrong, tokens).generator > 1e-2);
  CHECK(compare_paths(wrong, tokens).largest() > 1e-2);
}
