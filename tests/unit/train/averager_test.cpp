#include "core/train/averager.h"

#include <ATen/core/grad_mode.h>

#include "core/train/state.h"
#include "tests/support/catch.h"
#include "tests/support/trainable_model.h"

using namespace caddie;
using namespace caddie::train;

namespace {

// One number stands for all: every parameter is filled with it.
void fill(Model& model, double value) {
  const at::NoGradGuard guard;
  for (const auto& parameter : model.parameters()) parameter.tensor.detach().fill_(value);
}

double first(const NamedTensors& values) { return values.at(0).second.reshape({-1})[0].item<double>(); }

}  // namespace

TEST_CASE("averages: a moving average from the start, a mean of late weights, their blend") {
  testing::TrainableModel model;
  fill(model, 1);
  Averager averager({0.9, 2, 0.5, 0.25}, model.parameters());
  const double factors[] = {1, 0.5, 0.4, 0.4, 0.3, 0.2};  // 0.5 is not strictly below
  double ema = 1;
  for (int step = 0; step < 6; ++step) {
    fill(model, step + 10);
    averager.update(step, factors[step]);
    ema = 0.9 * ema + 0.1 * (step + 10);
  }
  CHECK(averager.swa_count() == 2);  // steps 3 and 5
  CHECK(first(averager.ema()) == Approx(ema).epsilon(1e-6));
  CHECK(first(averager.swa()) == Approx(14).epsilon(1e-6));
  CHECK(first(averager.final_weights()) == Approx(0.25 * ema + 0.75 * 14).epsilon(1e-6));
  CHECK(averager.final_weights().at(3).first == "core.gain");
}

TEST_CASE("averages: what is left when one of them is missing") {
  testing::TrainableModel model;
  fill(model, 1);
  Averager only_ema({0.5, 0, 0.5, 0.5}, model.parameters()), only_swa({std::nullopt, 1, 0.5, 0.5}, model.parameters()),
      none({std::nullopt, 0, 0.5, 0.5}, model.parameters()), nothing_joined({0.5, 1, 0.1, 0.5}, model.parameters());
  CHECK(first(only_swa.final_weights()) == 1);
  fill(model, 3);
  for (Averager* averager : {&only_ema, &only_swa, &none, &nothing_joined}) averager->update(0, 0.2);
  fill(model, 5);
  CHECK(first(only_ema.final_weights()) == 2);
  CHECK(first(only_swa.final_weights()) == 3);
  CHECK(first(none.final_weights()) == 5);
  CHECK(first(nothing_joined.final_weights()) == 2);
  CHECK(none.ema().empty());
  CHECK(nothing_joined.swa().empty());
}

TEST_CASE("averages go on from their saved state bit for bit") {
  testing::TrainableModel model;
  Averager whole({0.9, 1, 0.5, 0.5}, model.parameters()), part({0.9, 1, 0.5, 0.5}, model.parameters());
  for (int step = 0; step < 3; ++step) {
    fill(model, 0.1 * step);
    whole.update(step, 0.3);
    part.update(step, 0.3);
  }
  StateDictionary state(StateDictionary::Keep::copies);
  part.save(state);
  fill(model, 100);
  Averager resumed({0.9, 1, 0.5, 0.5}, model.parameters());
  resumed.load(state);
  fill(model, 0.7);
  whole.update(3, 0.2);
  resumed.update(3, 0.2);
  CHECK(resumed.swa_count() == 4);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(resumed.final_weights()[i].second.equal(whole.final_weights()[i].second));
}

TEST_CASE("averages: the mean of the latest weights, alone and blended, bit for bit after a pause") {
  testing::TrainableModel model;
  Averaging settings;
  settings.latest_count = 3;
  settings.latest_every = 2;
  fill(model, 1);
  Averager latest(settings, model.parameters()), paused(settings, model.parameters());
  fill(model, 7);
  CHECK(first(latest.final_weights()) == 7);  // nothing was taken: the weights as they are
  for (int step = 0; step < 9; ++step) {
    fill(model, step * step);
    latest.update(step, 1);
    if (step == 4) {
      StateDictionary state(StateDictionary::Keep::copies);
      latest.save(state);
      paused.load(state);
      CHECK(first(latest.final_weights()) == Approx((1 + 9) / 2.0));
    }
    if (step > 4) paused.update(step, 1);
  }
  CHECK(first(latest.final_weights()) == Approx((9 + 25 + 49) / 3.0));  // taken at steps 1, 3, 5 and 7
  CHECK(first(paused.final_weights()) == first(latest.final_weights()));

  settings.ema = 0.5;
  settings.blend = 0.25;
  settings.latest_every = 1;
  fill(model, 4);
  Averager blended(settings, model.parameters());
  fill(model, 8);
  blended.update(0, 1);
  CHECK(first(blended.final_weights()) == Approx(0.25 * 6 + 0.75 * 8));
}

TEST_CASE("averages: late weights may be counted by the share of the budget") {
  testing::TrainableModel model;
  Averaging settings;
  settings.swa_every = 1;
  settings.swa_below = 2;  // whatever the factor
  settings.swa_from = 0.5;
  Averager averager(settings, model.parameters());
  for (int step = 0; step < 4; ++step) {
    fill(model, step);
    averager.update(step, 1, step / 4.0);
  }
  CHECK(averager.swa_count() == 2);
  CHECK(first(averager.final_weights()) == Approx(2.5));
}
