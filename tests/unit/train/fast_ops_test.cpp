// Training with the fused ops against training with the oracles: over 50 steps they part by no more than two trainings with
// the fused ops do whose sums are taken in different orders (the same step in more micro batches).
#include <algorithm>
#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/small_unet_gpt.h"
#include "tests/unit/train/support.h"

using namespace caddie;
using namespace caddie::testing;

namespace {

constexpr std::int64_t kLength = 24, kRows = 4, kVocabulary = 61;

// Sequences of a rule with noise; a step's rows are the same however they are dealt to micro batches.
class Sequences final : public BatchSource {
 public:
  explicit Sequences(std::int64_t micro_batches) : rows_(kRows / micro_batches) {}
  Batch next() override {
    Batch batch{at::empty({rows_, kLength}, at::kLong), at::empty({rows_, kLength}, at::kLong)};
    auto* inputs = batch.inputs.mutable_data_ptr<std::int64_t>();
    auto* targets = batch.targets.mutable_data_ptr<std::int64_t>();
    for (std::int64_t row = 0; row < rows_; ++row) {
      Random random(static_cast<std::uint64_t>(taken_++), "sequence");
      auto token = static_cast<std::int64_t>(random.below(kVocabulary));
      for (std::int64_t i = 0; i < kLength; ++i) {
        inputs[row * kLength + i] = token;
        token = random.uniform() < 0.2 ? static_cast<std::int64_t>(random.below(kVocabulary)) : (token * 3 + 1) % kVocabulary;
        targets[row * kLength + i] = token;
      }
    }
    return batch;
  }
  void save(StateWriter&) const override {}
  void load(const StateReader&) override {}

 private:
  std::int64_t rows_, taken_ = 0;
};

struct Oracles {
  explicit Oracles(bool on) { ops::use_oracles(on); }
  ~Oracles() { ops::use_oracles(false); }
};

std::vector<double> losses(bool oracles, std::int64_t micro_batches, bool fake_quant) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  const Oracles choice(oracles);
  const auto made = unet_gpt_test::make(unet_gpt_test::kSmall, Precision::float32, at::kCPU, kVocabulary);
  Random random(5, "initial weights");
  made.model->initialize(random);
  Sequences source(micro_batches);
  SoloCommunicator solo;
  unet_gpt_test::QuietServices services;
  auto settings = tiny_settings(50);
  settings.sequence = kLength;
  settings.tokens_per_step = kRows * kLength;
  settings.micro_batches = micro_batches;
  settings.fake_quant.clear();
  if (fake_quant) settings.fake_quant = {{"attention", 6}, {"mlp", 5}};
  std::vector<double> list;
  train::TrainJob job{*made.model, source, solo, services, plugins(catalogue), {}, "fast ops",
                      [&](const train::StepMetrics& m) { list.push_back(m.train_loss); }, {}, {}};
  train::train(settings, job);
  return list;
}

double apart(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] / b[i] - 1));
  return worst;
}

}  // namespace

TEST_CASE("50 steps with the fused ops are those with the oracles but for the order of sums") {
  if (ops::kernels(at::kCPU, at::kFloat) == "oracle") {
    SKIP_TEST("this processor has no fused ops");
  }
  for (const bool fake_quant : {false, true}) {
    const auto fused = losses(false, 1, fake_quant), oracle = losses(true, 1, fake_quant);
    const double by_order = std::max(apart(fused, losses(false, 2, fake_quant)), apart(fused, losses(false, 4, fake_quant)));
    const double by_ops = apart(fused, oracle);
    INFO("fake quantization " << fake_quant << ": relative " << by_ops << ", by the order of sums " << by_order);
    CHECK(fused.back() < 0.9 * fused.front());
    CHECK(by_ops < 4 * by_order);
    CHECK(by_ops < (fake_quant ? 0.05 : 1e-4));
  }
}
