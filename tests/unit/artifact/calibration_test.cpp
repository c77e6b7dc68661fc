#include "core/artifact/calibration.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include "tests/support/catch.h"
#include "tests/unit/artifact/fake_model.h"

using namespace caddie;
using namespace caddie::artifact;
using fakes::FakeModel;

TEST_CASE("a Hessian is the sum of X^T X over batches, divided by the number of batches") {
  // Wider than a block of the collector and no multiple of it.
  const auto a = at::randn({7, 300}), b = at::randn({5, 300});
  HessianCollector collector;
  const std::string names[] = {"q", "k"};
  collector.input(names, a);
  collector.end_batch();
  collector.input(names, b);
  collector.end_batch();
  const auto expected =
      a.to(at::kDouble).t().mm(a.to(at::kDouble)).add(b.to(at::kDouble).t().mm(b.to(at::kDouble))).div(2);
  const auto hessian = collector.hessian("k");
  CHECK(hessian.scalar_type() == at::kFloat);
  CHECK(hessian.to(at::kDouble).sub(expected).abs().max().item<double>() < 1e-4);
  CHECK(at::equal(hessian, hessian.t()));
  CHECK(collector.groups() == std::vector<std::vector<std::string>>{{"q", "k"}});
}

TEST_CASE("inputs that nobody asked for are passed over, and a map that is used twice in a pass adds up") {
  HessianCollector collector([](const std::string& name) { return name != "other"; });
  const std::string other[] = {"other"}, shared[] = {"w"};
  collector.input(other, at::ones({2, 3}));
  for (int i = 0; i < 2; ++i) collector.input(shared, at::ones({2, 3}));
  collector.end_batch();
  CHECK_FALSE(collector.has("other"));
  CHECK_THROWS_WITH(collector.hessian("other"), Catch::Contains("announced no input of 'other'"));
  CHECK(at::equal(collector.hessian("w"), at::ones({3, 3}).mul(4)));
  const std::string partners[] = {"w", "v"};
  CHECK_THROWS_WITH(collector.input(partners, at::ones({2, 3})), Catch::Contains("different partners"));
}

TEST_CASE("each calibration sequence is fed without its last token, fake quantization off") {
  FakeModel model;
  const auto tokens = random_tokens(FakeModel::kVocabulary, 5, 9, Random(3, "x"), at::kCPU);
  HessianCollector collector;
  const auto batches = split_batches(tokens, 2);
  REQUIRE(batches.size() == 3);
  CHECK(batches[2].size(0) == 1);
  collect_hessians(model, batches, collector);
  CHECK(model.prepared > 0);
  REQUIRE(model.observed.size() == 3);
  CHECK(at::equal(model.observed[1], tokens.narrow(0, 2, 2).narrow(1, 0, 8)));
  CHECK(collector.groups().size() == 3);
  CHECK(collector.group("blocks.0.key.weight").size() == 2);
}

TEST_CASE("self-generated text is reproducible, and the cache changes nothing") {
  FakeModel model;
  const auto generate = [&](std::uint64_t seed, std::int64_t sequences, double temperature, bool cached) {
    return self_generated_tokens(model, FakeModel::kVocabulary, sequences, 40, temperature, Random(seed, "calibration"),
                                 at::kCPU, cached);
  };
  const auto tokens = generate(1, 6, 1.0, true);
  CHECK(tokens.sizes() == at::IntArrayRef({6, 40}));
  CHECK(tokens.min().item<std::int64_t>() >= 0);
  CHECK(tokens.max().item<std::int64_t>() < FakeModel::kVocabulary);
  CHECK(at::equal(tokens, generate(1, 6, 1.0, true)));
  CHECK_FALSE(at::equal(tokens, generate(2, 6, 1.0, true)));
  CHECK(at::equal(tokens.narrow(0, 0, 2), generate(1, 2, 1.0, true)));
  CHECK(at::equal(generate(1, 6, 0, true), generate(1, 6, 0, false)));
}

TEST_CASE("sampling follows the model's probabilities") {
  // Logits that say: token 0 with probability 3/4, token 1 with 1/4, whatever came before.
  class Coin final : public Model {
   public:
    const std::vector<Parameter>& parameters() override { return none_; }
    void initialize(Random&) override {}
    void set_fake_quant(std::span<const FakeQuantRule>) override {}
    void prepare(bool) override {}
    at::Tensor loss(const at::Tensor&, const at::Tensor&) override { return {}; }
    at::Tensor nats(const at::Tensor&, const at::Tensor&, std::int64_t) override { return {}; }
    std::vector<at::Tensor> trace(const at::Tensor&) override { return {}; }
    std::unique_ptr<Generator> generator(std::int64_t, std::int64_t) override { return nullptr; }
    void observe(const at::Tensor&, LinearObserver&) override {}
    std::int64_t activation_bytes(std::int64_t) const override { return 0; }
    double training_flops_per_token() const override { return 0; }
    std::string path() const override { return {}; }
    at::Tensor logits(const at::Tensor& tokens) override {
      auto logits = at::zeros({tokens.size(0), tokens.size(1), 2});
      logits.select(2, 0).fill_(std::log(3.0));
      return logits;
    }

   private:
    std::vector<Parameter> none_;
  } coin;
  const auto share = [&](double temperature) {
    const auto tokens = self_generated_tokens(coin, 2, 50, 41, temperature, Random(5, "coin"), at::kCPU, false);
    return tokens.narrow(1, 1, 40).eq(0).to(at::kDouble).mean().item<double>();
  };
  CHECK(share(1.0) == Approx(0.75).margin(0.04));  // four standard errors
  CHECK(share(0.5) == Approx(0.9).margin(0.03));
  CHECK(share(0) == 1);
}

TEST_CASE("calibration settings have defaults and limits") {
  const auto defaults = CalibrateSettings::from_json(Json::object());
  CHECK(defaults.sequences == 16);
  CHECK(defaults.length == 512);
  CHECK(CalibrateSettings::from_json({{"source", "train"}}).source == CalibrationSource::train);
  CHECK_THROWS_WITH(CalibrateSettings::from_json({{"source", "web"}}), Catch::Contains("self, train, random"));
  CHECK_THROWS_AS(CalibrateSettings::from_json({{"length", 1}}), Error);
}
