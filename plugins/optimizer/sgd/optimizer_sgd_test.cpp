// Plain and Nesterov momentum against the formula in float64, the taper of the decay, and a state that goes on bit for
// bit.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "caddie/services.h"
#include "core/comm/solo.h"
#include "core/host/catalogue.h"
#include "core/train/state.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

struct QuietServices final : Services {
  void log(LogLevel, std::string_view) override {}
  bool cancelled() const override { return false; }
  int threads() const override { return 1; }
};

at::Tensor noise(std::vector<std::int64_t> shape, const std::string& label) {
  Random random(5, label);
  auto values = at::empty(shape, at::kFloat);
  for (std::int64_t i = 0; i < values.numel(); ++i)
    values.mutable_data_ptr<float>()[i] = static_cast<float>(random.normal());
  return values;
}

std::vector<OptimizedParameter> parameters() {
  return {{"a", noise({3, 4}, "a"), at::zeros({3, 4}, at::kFloat)}, {"b", noise({5}, "b"), at::zeros({5}, at::kFloat)}};
}

void set_gradients(std::vector<OptimizedParameter>& all, int step) {
  for (auto& parameter : all)
    parameter.gradient.copy_(noise(parameter.value.sizes().vec(), parameter.name + std::to_string(step)));
}

std::shared_ptr<Optimizer> make(const Json& section, const std::vector<OptimizedParameter>& all) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  static QuietServices services;
  static SoloCommunicator solo;
  return catalogue.create_optimizer(section, {&services, &solo, all});
}

}  // namespace

TEST_CASE("descent with momentum follows its formula") {
  for (const bool nesterov : {false, true}) {
    auto all = parameters();
    const auto sgd = make({{"use", "sgd"},
                           {"learning_rate", 0.2},
                           {"momentum", 0.8},
                           {"nesterov", nesterov},
                           {"weight_decay", 0.3},
                           {"weight_decay_last", 0.5},
                           {"weight_decay_taper_from", 0.5}},
                          all);
    std::vector<at::Tensor> p, v;
    for (const auto& parameter : all) {
      p.push_back(parameter.value.to(at::kDouble));
      v.push_back(at::zeros(parameter.value.sizes(), at::kDouble));
    }
    for (int step = 0; step < 5; ++step) {
      set_gradients(all, step);
      const double rate = 0.2 * (1 - 0.1 * step), progress = step / 4.0;
      const double decay = 0.3 * (progress <= 0.5 ? 1 : 1 - 0.5 * (progress - 0.5) / 0.5);
      sgd->step({step, 1 - 0.1 * step, progress});
      for (std::size_t i = 0; i < all.size(); ++i) {
        const auto g = all[i].gradient.to(at::kDouble);
        v[i] = v[i].mul(0.8).add(g);
        const auto d = nesterov ? g.add(v[i], 0.8) : v[i];
        p[i] = p[i].mul(1 - rate * decay).sub(d, rate);
        CHECK(all[i].value.to(at::kDouble).sub(p[i]).abs().max().item<double>() < 1e-5);
      }
    }
    CHECK(sgd->state_bytes() == 4 * 17);
  }
}

TEST_CASE("descent goes on from its saved state bit for bit") {
  auto all = parameters(), copy = parameters();
  const auto sgd = make({{"use", "sgd"}}, all), resumed = make({{"use", "sgd"}}, copy);
  set_gradients(all, 0);
  sgd->step({0, 1});
  train::StateDictionary state(train::StateDictionary::Keep::copies);
  sgd->save(state);
  resumed->load(state);
  for (std::size_t i = 0; i < all.size(); ++i) copy[i].value.copy_(all[i].value);
  set_gradients(all, 1);
  set_gradients(copy, 1);
  sgd->step({1, 1});
  resumed->step({1, 1});
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(copy[i].value.equal(all[i].value));
}
