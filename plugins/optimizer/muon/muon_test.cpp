// Muon against its formulas in float64, written out with loops.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/comm/solo.h"
#include "core/host/catalogue.h"
#include "core/train/state.h"
#include "tests/support/catch.h"
#include "tests/support/rank_group.h"
#include "tests/support/trainable_model.h"

using namespace caddie;
using namespace caddie::testing;

namespace {

const Catalogue& catalogue() {
  static const Catalogue all({CADDIE_PLUGIN_DIR});
  return all;
}

at::Tensor noise(std::int64_t rows, std::int64_t columns, const std::string& label) {
  Random random(11, label);
  at::Tensor value = at::empty({rows, columns}, at::kFloat);
  for (std::int64_t i = 0; i < value.numel(); ++i) value.mutable_data_ptr<float>()[i] = static_cast<float>(0.1 * random.normal());
  return value;
}

// Tall, wide, square, and a second wide one for the batch.
std::vector<OptimizedParameter> matrices() {
  std::vector<OptimizedParameter> all;
  for (const auto& [name, rows, columns] : {std::tuple{"a", 12, 5}, {"b", 5, 12}, {"c", 7, 7}, {"d", 5, 12}})
    all.push_back({name, noise(rows, columns, name), at::zeros({rows, columns}, at::kFloat)});
  return all;
}

void set_gradients(std::vector<OptimizedParameter>& all, int step) {
  for (auto& parameter : all)
    parameter.gradient.copy_(noise(parameter.value.size(0), parameter.value.size(1), parameter.name + std::to_string(step)));
}

at::Tensor orthogonalized(at::Tensor x) {
  const bool tall = x.size(0) > x.size(1);
  if (tall) x = x.t();
  x = x.div(x.norm().add(1e-7));
  for (int i = 0; i < 5; ++i) {
    const at::Tensor gram = x.matmul(x.t());
    x = x.mul(3.4445).add(gram.mul(-4.775).add(gram.matmul(gram).mul(2.0315)).matmul(x));
  }
  return tall ? x.t() : x;
}

const Json kFloat32 = {{"use", "muon"}, {"newton_schulz_precision", "float32"}, {"momentum_warmup_steps", 4}};

std::shared_ptr<Optimizer> make(const Json& section, const std::vector<OptimizedParameter>& parameters, Communicator& ranks) {
  static QuietServices services;
  return catalogue().create_optimizer(section, {&services, &ranks, parameters});
}

}  // namespace

TEST_CASE("muon follows its formulas") {
  for (const bool nesterov : {true, false}) {
    auto all = matrices();
    SoloCommunicator solo;
    Json section = kFloat32;
    section["nesterov"] = nesterov;
    const auto muon = make(section, all, solo);
    std::vector<at::Tensor> p, m;
    for (const auto& parameter : all) {
      p.push_back(parameter.value.to(at::kDouble));
      m.push_back(at::zeros(parameter.value.sizes(), at::kDouble));
    }
    for (int step = 0; step < 6; ++step) {
      set_gradients(all, step);
      const double factor = 1 - 0.1 * step, rate = 0.025 * factor;
      const double mu = 0.92 + std::min(step / 4.0, 1.0) * 0.07;
      muon->step({step, factor});
      for (std::size_t i = 0; i < all.size(); ++i) {
        const at::Tensor g = all[i].gradient.to(at::kDouble);
        m[i] = m[i].mul(mu).add(g);
        const double scale = std::sqrt(std::max(1.0, static_cast<double>(g.size(0)) / static_cast<double>(g.size(1))));
        const at::Tensor u = orthogonalized(nesterov ? g.add(m[i], mu) : m[i]).mul(scale);
        p[i] = p[i].sub(u, rate).mul(1 - rate * 0.04);
        INFO("nesterov " << nesterov << ", step " << step << ", matrix " << all[i].name);
        CHECK(all[i].value.to(at::kDouble).sub(p[i]).abs().max().item<double>() < 2e-6);
      }
    }
  }
}

TEST_CASE("muon's bfloat16 updates are bfloat16 values near the float32 ones") {
  auto exact = matrices(), rounded = matrices();
  SoloCommunicator solo;
  Json section = {{"use", "muon"}, {"learning_rate", 1.0}, {"weight_decay", 0.0}};
  for (auto* all : {&exact, &rounded}) {
    for (auto& parameter : *all) parameter.value.zero_();
    section["newton_schulz_precision"] = all == &exact ? "float32" : "bfloat16";
    const auto muon = make(section, *all, solo);
    set_gradients(*all, 0);
    muon->step({0, 1.0});
  }
  for (std::size_t i = 0; i < exact.size(); ++i) {
    CHECK(rounded[i].value.equal(rounded[i].value.to(at::kBFloat16).to(at::kFloat)));
    CHECK(rounded[i].value.sub(exact[i].value).abs().max().item<float>() < 0.1f);
    CHECK_FALSE(rounded[i].value.equal(exact[i].value));
  }
}

// One update with rate 1 and no decay from weights of 0 is the update itself, with its sign turned.
std::vector<at::Tensor> updates_of(Json section, const std::vector<OptimizedParameter>& from) {
  section.update({{"learning_rate", 1.0}, {"weight_decay", 0.0}, {"momentum_start", 0.0}, {"momentum", 0.0}});
  auto all = from;
  for (auto& parameter : all) parameter.value = at::zeros(parameter.value.sizes(), at::kFloat);
  SoloCommunicator solo;
  const auto muon = make(section, all, solo);
  set_gradients(all, 0);
  muon->step({0, 1.0});
  std::vector<at::Tensor> updates;
  for (const auto& parameter : all) updates.push_back(parameter.value.neg().to(at::kDouble));
  return updates;
}

double stretch(const at::Tensor& g) { return std::sqrt(std::max(1.0, static_cast<double>(g.size(0)) / static_cast<double>(g.size(1)))); }

TEST_CASE("muon with rows of the momentum made alike orthogonalizes unit rows") {
  auto all = matrices();
  Json section = kFloat32;
  section["normalize_rows"] = "momentum";
  const auto updates = updates_of(section, all);
  set_gradients(all, 0);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const at::Tensor g = all[i].gradient.to(at::kDouble);
    const at::Tensor expected = orthogonalized(g.div(g.square().sum(1, true).sqrt())).mul(stretch(g));
    CHECK(updates[i].sub(expected).abs().max().item<double>() < 2e-5);
  }
}

TEST_CASE("muon with updates scaled by the rows' running size keeps each update's length") {
  auto all = matrices();
  SoloCommunicator solo;
  Json section = kFloat32;
  section.update({{"normalize_rows", "update"}, {"row_beta2", 0.9}, {"learning_rate", 1.0}, {"weight_decay", 0.0},
                  {"momentum", 0.0}, {"momentum_start", 0.0}});
  const auto muon = make(section, all, solo);
  std::vector<at::Tensor> v;
  for (const auto& parameter : all) v.push_back(at::zeros({parameter.value.size(0), 1}, at::kDouble));
  for (int step = 0; step < 3; ++step) {
    set_gradients(all, step);
    std::vector<at::Tensor> before;
    for (const auto& parameter : all) before.push_back(parameter.value.to(at::kDouble).clone());
    muon->step({step, 1.0});
    for (std::size_t i = 0; i < all.size(); ++i) {
      const at::Tensor u = orthogonalized(all[i].gradient.to(at::kDouble));
      v[i] = v[i].mul(0.9).add(u.square().mean(1, true).mul(0.1));
      const at::Tensor even = u.div(v[i].sqrt().add(1e-8));
      const at::Tensor expected = even.mul(u.norm().div(even.norm())).mul(stretch(u));
      CHECK(before[i].sub(all[i].value.to(at::kDouble)).sub(expected).abs().max().item<double>() < 2e-5);
    }
  }
  CHECK(muon->state_bytes() == 4 * (60 * 3 + 49) + 4 * (12 + 5 + 7 + 5));
  train::StateDictionary state(train::StateDictionary::Keep::copies);
  muon->save(state);
  CHECK(state.tensor("row_moment/a").sizes() == at::IntArrayRef({12, 1}));
}

TEST_CASE("polar express brings the singular values of well and badly conditioned matrices to 1") {
  auto all = matrices();
  Json section = kFloat32;
  section["coefficients"] = "polar_express";
  const auto updates = updates_of(section, all), plain = updates_of(kFloat32, all);
  double worst = 0, worst_plain = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto distance = [&](const at::Tensor& update) {
      return at::linalg_svdvals(update.div(stretch(update))).sub(1).abs().max().item<double>();
    };
    worst = std::max(worst, distance(updates[i]));
    worst_plain = std::max(worst_plain, distance(plain[i]));
  }
  CHECK(worst < 0.16);                // from 1e-3 of the largest on they end between 0.847 and 1.141
  CHECK(worst_plain > 1.5 * worst);   // the reference's coefficients: between 0.68 and 1.13 from 0.05 on

  // The first step alone, by its published coefficients.
  section["newton_schulz_steps"] = 1;
  const at::Tensor one = updates_of(section, all)[1];
  set_gradients(all, 0);
  const at::Tensor g = all[1].gradient.to(at::kDouble), x = g.div(g.norm().mul(1.02).add(1e-7)), a = x.matmul(x.t());
  const at::Tensor expected = x.mul(8.156554524902461).add(a.mul(-22.48329292557795).add(a.matmul(a).mul(15.878769915207462)).matmul(x));
  CHECK(one.sub(expected).abs().max().item<double>() < 1e-5);
}

TEST_CASE("muon's decay tapers over the last part of the budget") {
  SoloCommunicator solo;
  Json section = kFloat32;
  section.update({{"weight_decay", 0.5}, {"learning_rate", 1.0}, {"weight_decay_last", 0.2}, {"weight_decay_taper_from", 0.6}});
  for (const auto& [progress, factor] : {std::pair{0.3, 1.0}, {0.6, 1.0}, {0.8, 0.6}, {1.0, 0.2}}) {
    std::vector<OptimizedParameter> one = {{"a", noise(3, 4, "x"), at::zeros({3, 4}, at::kFloat)}};
    const at::Tensor before = one[0].value.clone();
    make(section, one, solo)->step({0, 1.0, progress});  // no gradient: decay alone
    CHECK(one[0].value.sub(before.mul(1 - 0.5 * factor)).abs().max().item<double>() < 1e-6);
  }
}

TEST_CASE("three ranks that share muon's matrices agree with one") {
  for (const std::string precision : {"float32", "bfloat16"}) {
    Json section = kFloat32;
    section["newton_schulz_precision"] = precision;
    const auto train = [&section](Communicator& ranks) {
      auto all = matrices();
      const auto muon = make(section, all, ranks);
      for (int step = 0; step < 3; ++step) {
        set_gradients(all, step);
        muon->step({step, 1.0});
      }
      return all;
    };
    SoloCommunicator solo;
    const auto alone = train(solo);
    std::vector<std::vector<OptimizedParameter>> shared(3);
    RankGroup group(3);
    group.run([&](Communicator& ranks) { shared[static_cast<std::size_t>(ranks.rank())] = train(ranks); });
    for (std::size_t i = 0; i < alone.size(); ++i) {
      CHECK(shared[0][i].value.equal(shared[2][i].value));
      CHECK(shared[1][i].value.sub(alone[i].value).abs().max().item<float>() < (precision == "float32" ? 1e-6f : 1e-2f));
    }
  }
}

TEST_CASE("three ranks save the rows' running sizes of all matrices, as one does") {
  Json section = kFloat32;
  section["normalize_rows"] = "update";
  const auto saved = [&section](Communicator& ranks) {
    auto all = matrices();
    const auto muon = make(section, all, ranks);
    for (int step = 0; step < 2; ++step) {
      set_gradients(all, step);
      muon->step({step, 1.0});
    }
    train::StateDictionary state(train::StateDictionary::Keep::copies);
    muon->save(state);
    std::vector<at::Tensor> moments;
    for (const auto& parameter : all) moments.push_back(state.tensor("row_moment/" + parameter.name));
    return moments;
  };
  SoloCommunicator solo;
  const auto alone = saved(solo);
  std::vector<std::vector<at::Tensor>> shared(3);
  RankGroup group(3);
  group.run([&](Communicator& ranks) { shared[static_cast<std::size_t>(ranks.rank())] = saved(ranks); });
  for (std::size_t i = 0; i < alone.size(); ++i) {
    REQUIRE(shared[0][i].sizes() == alone[i].sizes());
    CHECK(shared[0][i].equal(shared[2][i]));
    CHECK(shared[1][i].sub(alone[i]).abs().max().item<float>() < 1e-6f);
  }
}

TEST_CASE("ranks are dealt as much as each other, and with fewer matrices than ranks some nothing") {
  // The reference's ten blocks at a sixteenth of their width: queries, keys, values, outputs, and the MLP's two.
  std::vector<OptimizedParameter> all;
  for (int block = 0; block < 10; ++block)
    for (const auto& [rows, columns] : {std::pair{32, 32}, {16, 32}, {16, 32}, {32, 32}, {112, 32}, {32, 112}})
      all.push_back({concat("m", all.size()), at::zeros({rows, columns}, at::kFloat), at::zeros({rows, columns}, at::kFloat)});
  const int size = GENERATE(2, 4, 8, 64);
  CAPTURE(size);
  std::vector<double> bytes(static_cast<std::size_t>(size));
  RankGroup group(size);
  group.run([&](Communicator& ranks) {
    auto own = all;
    for (auto& parameter : own) parameter = {parameter.name, parameter.value.clone(), parameter.gradient.clone()};
    const auto muon = make(kFloat32, own, ranks);
    muon->step({0, 1.0});
    bytes[static_cast<std::size_t>(ranks.rank())] = static_cast<double>(muon->state_bytes());
  });
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  if (size == 2) CHECK(*least == *most);
  if (size <= 8) CHECK(*most < 1.25 * *least);
  if (size == 64) CHECK(*least == 0);
}

TEST_CASE("muon's state goes on bit for bit, and another shape is refused") {
  auto all = matrices(), copy = matrices();
  SoloCommunicator solo;
  const auto muon = make(kFloat32, all, solo);
  set_gradients(all, 0);
  muon->step({0, 1.0});
  train::StateDictionary state(train::StateDictionary::Keep::copies);
  muon->save(state);
  const auto resumed = make(kFloat32, copy, solo);
  resumed->load(state);
  for (std::size_t i = 0; i < all.size(); ++i) copy[i].value.copy_(all[i].value);
  set_gradients(all, 1);
  set_gradients(copy, 1);
  muon->step({1, 0.5});
  resumed->step({1, 0.5});
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(copy[i].value.equal(all[i].value));
  CHECK(muon->state_bytes() == 4 * (60 * 3 + 49));

  const auto other = make(kFloat32, {{"a", noise(2, 2, "x"), noise(2, 2, "y")}}, solo);
  CHECK_THROWS_AS(other->load(state), Error);
}

TEST_CASE("muon refuses what is not a matrix and coefficients that are not three") {
  SoloCommunicator solo;
  const at::Tensor vector = at::zeros({3}, at::kFloat);
  try {
    make(kFloat32, {{"gain", vector, vector}}, solo);
    FAIL("a vector was accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::usage);
    CHECK(error.message().find("gain") != std::string::npos);
  }
  Json section = kFloat32;
  section["newton_schulz_coefficients"] = {1.0, 2.0};
  CHECK_THROWS_AS(make(section, matrices(), solo), Error);
}
