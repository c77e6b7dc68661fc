// AdamW against its formulas, value by value.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/BFloat16.h>

#include <cmath>

#include "core/comm/solo.h"
#include "core/host/catalogue.h"
#include "core/train/state.h"
#include "tests/support/catch.h"
#include "tests/support/trainable_model.h"

using namespace caddie;
using namespace caddie::testing;

namespace {

constexpr std::int64_t kCount = 37;

std::shared_ptr<Optimizer> make(const Json& section, const std::vector<OptimizedParameter>& parameters) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  static QuietServices services;
  static SoloCommunicator solo;
  return catalogue.create_optimizer(section, {&services, &solo, parameters});
}

at::Tensor noise(const std::string& label) {
  Random random(5, label);
  at::Tensor value = at::empty({kCount}, at::kFloat);
  for (std::int64_t i = 0; i < kCount; ++i) value.mutable_data_ptr<float>()[i] = static_cast<float>(random.normal());
  return value;
}

float bfloat16(float value) { return static_cast<float>(static_cast<c10::BFloat16>(value)); }

const Json kSection = {{"use", "adamw"}, {"learning_rate", 0.03}, {"weight_decay", 0.1}, {"epsilon", 1e-3}};

}  // namespace

TEST_CASE("adamw follows its formulas") {
  std::vector<OptimizedParameter> all = {{"p", noise("p"), at::zeros({kCount}, at::kFloat)}};
  const auto adamw = make(kSection, all);
  std::vector<double> p(kCount), m(kCount), v(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) p[static_cast<std::size_t>(i)] = all[0].value[i].item<double>();
  for (int step = 0; step < 5; ++step) {
    all[0].gradient.copy_(noise("g" + std::to_string(step)));
    const double rate = 0.03 * (1 - 0.2 * step);
    adamw->step({step + 100, 1 - 0.2 * step});  // bias correction counts updates, not the run's steps
    for (std::size_t i = 0; i < kCount; ++i) {
      const double g = all[0].gradient[static_cast<std::int64_t>(i)].item<double>();
      p[i] *= 1 - rate * 0.1;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      p[i] -= rate * (m[i] / (1 - std::pow(0.9, step + 1))) / (std::sqrt(v[i] / (1 - std::pow(0.95, step + 1))) + 1e-3);
      CHECK(all[0].value[static_cast<std::int64_t>(i)].item<double>() == Approx(p[i]).margin(1e-6));
    }
  }
}

TEST_CASE("adamw in bfloat16: everything rests rounded, a step uses its moments before they are") {
  std::vector<OptimizedParameter> all = {{"p", noise("p"), at::zeros({kCount}, at::kFloat)}};
  Json section = kSection;
  section["state_precision"] = "bfloat16";
  const auto adamw = make(section, all);
  std::vector<float> p(kCount), m(kCount), v(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) p[static_cast<std::size_t>(i)] = bfloat16(all[0].value[i].item<float>());
  int different = 0;
  for (int step = 0; step < 4; ++step) {
    all[0].gradient.copy_(noise("g" + std::to_string(step)));
    adamw->step({step, 1});
    for (std::size_t i = 0; i < kCount; ++i) {
      const float g = bfloat16(all[0].gradient[static_cast<std::int64_t>(i)].item<float>());
      const double first = 0.9 * m[i] + 0.1 * g, second = 0.95 * v[i] + 0.05 * g * g;
      m[i] = bfloat16(static_cast<float>(first)), v[i] = bfloat16(static_cast<float>(second));
      const double change = 0.03 * (first / (1 - std::pow(0.9, step + 1))) /
                            (std::sqrt(second / (1 - std::pow(0.95, step + 1))) + 1e-3);
      const float next = bfloat16(static_cast<float>(p[i] * (1 - 0.03 * 0.1) - change));
      const float actual = all[0].value[static_cast<std::int64_t>(i)].item<float>();
      different += actual == next ? 0 : 1;  // a value beside a rounding tie may fall on the other side
      CHECK(actual == Approx(next).epsilon(0.01));
      CHECK(actual == bfloat16(actual));
      p[i] = actual;
    }
  }
  CHECK(different <= 2);
}

TEST_CASE("adamw's state goes on bit for bit") {
  for (const std::string precision : {"float32", "bfloat16"}) {
    std::vector<OptimizedParameter> all = {{"p", noise("p"), noise("g")}};
    Json section = kSection;
    section["state_precision"] = precision;
    const auto adamw = make(section, all);
    adamw->step({0, 1});
    adamw->step({1, 1});
    train::StateDictionary state(train::StateDictionary::Keep::copies);
    adamw->save(state);
    std::vector<OptimizedParameter> copy = {{"p", all[0].value.clone(), noise("g")}};
    const auto resumed = make(section, copy);
    resumed->load(state);
    adamw->step({2, 0.5});
    resumed->step({2, 0.5});
    CHECK(copy[0].value.equal(all[0].value));
    CHECK(adamw->state_bytes() == kCount * (precision == "float32" ? 8 : 4));
    section["state_precision"] = precision == "float32" ? "bfloat16" : "float32";
    CHECK_THROWS_AS(make(section, copy)->load(state), Error);
  }
}

TEST_CASE("adamw's decay tapers over the last part of the budget") {
  Json section = kSection;
  section.update({{"weight_decay_last", 0.5}, {"weight_decay_taper_from", 0.5}});
  for (const auto& [progress, factor] : {std::pair{0.4, 1.0}, {0.75, 0.75}, {1.0, 0.5}}) {
    std::vector<OptimizedParameter> all = {{"p", noise("p"), at::zeros({kCount}, at::kFloat)}};
    make(section, all)->step({0, 1.0, progress});  // no gradient: decay alone
    CHECK(all[0].value.sub(noise("p").mul(1 - 0.03 * 0.1 * factor)).abs().max().item<double>() < 1e-6);
  }
}
