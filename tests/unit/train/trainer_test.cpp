#include "core/train/trainer.h"

#include <ATen/core/grad_mode.h>

#include <functional>
#include <limits>

#include "core/train/state.h"
#include "tests/support/catch.h"
#include "tests/support/rank_group.h"
#include "tests/unit/train/support.h"

using namespace caddie;
using namespace caddie::testing;
using namespace caddie::train;

namespace {

std::vector<Batch> take(FormulaSource& source, int count) {
  std::vector<Batch> batches;
  for (int i = 0; i < count; ++i) batches.push_back(source.next());
  return batches;
}

std::string failure(const std::function<void()>& action, ErrorKind kind) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    return error.message();
  }
  return "nothing was thrown";
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a step descends along the mean gradient of its micro batches") {
  TrainableModel model, expected;
  SoloCommunicator solo;
  QuietServices services;
  TrainSettings settings = tiny_settings(4);
  settings.fake_quant.clear();
  Trainer trainer(model, settings, descent(0.5), solo, services);
  FormulaSource source;
  const auto batches = take(source, 2);

  expected.prepare(true);
  const at::Tensor a = expected.loss(batches[0].inputs, batches[0].targets), b = expected.loss(batches[1].inputs, batches[1].targets);
  a.backward();
  b.backward();
  CHECK(trainer.step(batches, 0.5) == Approx((a.item<double>() + b.item<double>()) / 2).epsilon(1e-6));
  const at::NoGradGuard guard;
  for (std::size_t i = 0; i < 4; ++i) {
    const at::Tensor& start = expected.parameters()[i].tensor;
    const at::Tensor after = start.sub(start.grad(), 0.5 * 0.5 / 2);
    CHECK(model.parameters()[i].tensor.sub(after).abs().max().item<float>() < 1e-6f);
    CHECK(model.parameters()[i].tensor.sub(start).abs().max().item<float>() > 1e-4f);
  }
  CHECK(trainer.steps() == 1);
}

TEST_CASE("two ranks do what one does") {
  const bool late = GENERATE(false, true);  // as on a device
  const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  QuietServices services;
  const TrainSettings settings = tiny_settings(4);
  TrainableModel one;
  SoloCommunicator solo;
  Trainer alone(one, settings, plugins(catalogue), solo, services);
  FormulaSource all;
  double loss = 0;
  for (int step = 0; step < 3; ++step) loss = alone.step(take(all, 2), 0.7);

  std::vector<NamedTensors> weights(2);
  std::vector<double> losses(2);
  RankGroup group(2);
  group.run([&](Communicator& communicator) {
    TrainableModel model;
    Trainer trainer(model, settings, plugins(catalogue), communicator, services);
    trainer.look_late(late);
    FormulaSource part(communicator.rank(), 2);
    const auto rank = static_cast<std::size_t>(communicator.rank());
    for (int step = 0; step < 3; ++step) losses[rank] = trainer.step(take(part, 1), 0.7);
    weights[rank] = trainer.weights();
  });
  CHECK(same(weights[0], weights[1]));
  CHECK(losses[0] == Approx(loss).epsilon(1e-6));
  const NamedTensors single = alone.weights();
  for (std::size_t i = 0; i < single.size(); ++i)
    CHECK(single[i].second.sub(weights[0][i].second).abs().max().item<float>() < 2e-5f);
}

TEST_CASE("the gradient's norm is clipped over all parameters") {
  TrainableModel model;
  SoloCommunicator solo;
  QuietServices services;
  TrainSettings settings = tiny_settings(4);
  settings.gradient_clip = 0.01;
  Trainer trainer(model, settings, descent(1), solo, services);
  const NamedTensors before = trainer.weights();
  FormulaSource source;
  trainer.step(take(source, 2), 1);
  double square = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    square += trainer.weights()[i].second.sub(before[i].second).pow(2).sum().item<double>();
  CHECK(std::sqrt(square) == Approx(0.01).epsilon(1e-3));
}

TEST_CASE("fake quantization takes the matrices of a group, and a rule that matches nothing is refused") {
  TrainableModel model;
  SoloCommunicator solo;
  QuietServices services;
  TrainSettings settings = tiny_settings(4);
  { Trainer trainer(model, settings, descent(1), solo, services); }
  REQUIRE(model.rules().size() == 2);  // core.gain is a vector
  CHECK(model.rules()[0].parameter == "core.up.weight");
  CHECK(model.rules()[1].bits == 5);
  settings.fake_quant = {{"core", 5}, {"core.up.*", 4}};
  CHECK(says(failure([&] { Trainer(model, settings, descent(1), solo, services); }, ErrorKind::usage), "more than one rule"));
  settings.fake_quant = {{"atention", 5}};
  CHECK(says(failure([&] { Trainer(model, settings, descent(1), solo, services); }, ErrorKind::usage), "'atention'"));
  settings.fake_quant = {{"vector", 5}};
  CHECK(says(failure([&] { Trainer(model, settings, descent(1), solo, services); }, ErrorKind::usage), "vectors only"));
  settings.fake_quant.clear();
  settings.optimizers = {"matrix", "embedding"};
  CHECK(says(failure([&] { Trainer(model, settings, descent(1), solo, services); }, ErrorKind::usage), "core.gain"));
}

TEST_CASE("a loss or gradient that is not finite stops the run and is named") {
  const bool late = GENERATE(false, true);
  SoloCommunicator solo;
  QuietServices services;
  FormulaSource source;
  const auto batches = take(source, 2);
  const auto message_with = [&](const std::function<void(TrainableModel&)>& damage) {
    TrainableModel model;
    Trainer trainer(model, tiny_settings(4), descent(0.1), solo, services);
    trainer.look_late(late);
    trainer.step(batches, 1);
    {
      const at::NoGradGuard guard;
      damage(model);
    }
    const NamedTensors before = trainer.weights();
    const std::string message = failure([&] { trainer.step(batches, 1); }, ErrorKind::failed);
    for (std::size_t i = 0; i < before.size(); ++i)
      CHECK(trainer.weights()[i].second.allclose(before[i].second, 0, 0, /*equal_nan=*/true));
    return message;
  };
  const std::string parameter = message_with([](TrainableModel& model) {
    model.parameters()[2].tensor.detach()[3][1] = std::numeric_limits<float>::quiet_NaN();
  });
  CHECK(says(parameter, "step 1, micro batch 0: the loss is nan"));
  CHECK(says(parameter, "parameter core.down.weight (1 of 128 elements)"));
  const std::string output = message_with([](TrainableModel& model) {
    model.parameters()[3].tensor.detach().fill_(3e38f);
    model.parameters()[2].tensor.detach().fill_(100.0f);
  });
  CHECK(says(output, "output of block 0"));
}

TEST_CASE("what is not finite on one rank ends all, with their weights as they were") {
  const bool late = GENERATE(false, true);
  std::vector<std::string> messages(2);
  std::vector<bool> kept(2);
  RankGroup group(2);
  group.run([&](Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    QuietServices services;
    TrainableModel model;
    int calls = 0;
    model.tamper = [&](const at::Tensor& loss) {
      return rank == 1 && ++calls == 2 ? loss.mul(std::numeric_limits<float>::infinity()) : loss;
    };
    Trainer trainer(model, tiny_settings(4), descent(0.1), communicator, services);
    trainer.look_late(late);
    FormulaSource part(communicator.rank(), 2);
    trainer.step(take(part, 1), 1);
    const NamedTensors before = trainer.weights();
    try {
      trainer.step(take(part, 1), 1);
    } catch (const Error& error) {
      messages[rank] = error.message();
    }
    kept[rank] = same(before, trainer.weights());
  });
  // The sum of the gradients is not finite on rank 0 either.
  CHECK(says(messages[0], "step 1"));
  CHECK(says(messages[1], "step 1, micro batch 0 of rank 1: the loss is inf"));
  CHECK(kept[0]);
  CHECK(kept[1]);
}

TEST_CASE("the micro batch that broke is told apart, by its loss or by its gradient") {
  const bool late = GENERATE(false, true), clipped = GENERATE(false, true);
  SoloCommunicator solo;
  QuietServices services;
  FormulaSource source;
  const auto batches = take(source, 3);
  const auto message_with = [&](std::function<at::Tensor(const at::Tensor&, const Model&)> damage) {
    TrainableModel model;
    int calls = 0;
    model.tamper = [&](const at::Tensor& loss) { return ++calls == 2 ? damage(loss, model) : loss; };
    TrainSettings settings = tiny_settings(4);
    if (clipped) settings.gradient_clip = 1;
    Trainer trainer(model, settings, descent(0.1), solo, services);
    trainer.look_late(late);
    return failure([&] { trainer.step(batches, 1); }, ErrorKind::failed);
  };
  const std::string loss = message_with([](const at::Tensor& value, const Model&) {
    return value.mul(std::numeric_limits<float>::infinity());
  });
  CHECK(says(loss, "step 0, micro batch 1: the loss is inf"));
  // sqrt(0) adds nothing to the loss, and its derivative times 0 is NaN.
  const std::string gradient = message_with([](const at::Tensor& value, const Model& model) {
    const at::Tensor& gain = const_cast<Model&>(model).parameters()[3].tensor;
    return value.add(gain[2].mul(0).sqrt());
  });
  CHECK(says(gradient, "step 0, micro batch 1: a gradient is not finite"));
  CHECK(says(gradient, "gradient of core.gain (1 of 8 elements)"));
}

TEST_CASE("a trainer goes on from its saved state bit for bit") {
  const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  SoloCommunicator solo;
  QuietServices services;
  const TrainSettings settings = tiny_settings(8);
  TrainableModel model, other;
  Trainer trainer(model, settings, plugins(catalogue), solo, services);
  FormulaSource source;
  for (int step = 0; step < 3; ++step) trainer.step(take(source, 2), 0.7);
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path);
  {
    StateDictionary state(StateDictionary::Keep::references);
    trainer.save(state);
    state.write(folder.path / "state.safetensors", {});
  }
  Trainer resumed(other, settings, plugins(catalogue), solo, services);
  resumed.load(StateDictionary::read(folder.path / "state.safetensors"));
  CHECK(resumed.steps() == 3);
  for (int step = 0; step < 3; ++step) {
    const auto batches = take(source, 2);
    CHECK(trainer.step(batches, 0.7) == resumed.step(batches, 0.7));
  }
  CHECK(same(trainer.weights(), resumed.weights()));
  CHECK(same(trainer.averager().final_weights(), resumed.averager().final_weights()));
}
