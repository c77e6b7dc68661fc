#include "core/train/schedule.h"

#include "caddie/error.h"
#include "caddie/optimizer.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::train;

TEST_CASE("linear warmdown over the last share of the seconds") {
  const Schedule schedule{ScheduleShape::linear, 0.35, 0};
  CHECK(factor_by_seconds(schedule, 0, 600) == 1);
  CHECK(factor_by_seconds(schedule, 390, 600) == 1);
  CHECK(factor_by_seconds(schedule, 400, 600) == Approx(200.0 / 210).epsilon(1e-12));
  CHECK(factor_by_seconds(schedule, 599.999, 600) == Approx(0.001 / 210).epsilon(1e-6));
  CHECK(factor_by_seconds(schedule, 600, 600) == 0);
  CHECK(factor_by_seconds(schedule, 605, 600) == 0);
}

TEST_CASE("linear warmdown over the last steps") {
  const Schedule schedule{ScheduleShape::linear, 0.3, 0};
  CHECK(factor_by_steps(schedule, 700, 1000) == 1);
  CHECK(factor_by_steps(schedule, 701, 1000) == Approx(299.0 / 300).epsilon(1e-12));
  CHECK(factor_by_steps(schedule, 999, 1000) == Approx(1.0 / 300).epsilon(1e-12));
  CHECK(factor_by_steps(schedule, 1000, 1000) == 1);  // as the reference: the schedule has ended
}

TEST_CASE("shapes and the minimum") {
  CHECK(factor_by_seconds({ScheduleShape::cosine, 1, 0}, 5, 10) == Approx(0.5));
  CHECK(factor_by_seconds({ScheduleShape::cosine, 1, 0}, 2.5, 10) == Approx(0.853553390593));
  CHECK(factor_by_seconds({ScheduleShape::linear, 0.5, 0.1}, 10, 10) == Approx(0.1));
  CHECK(factor_by_seconds({ScheduleShape::linear, 0.5, 0.1}, 7.5, 10) == Approx(0.55));
  CHECK(factor_by_seconds({ScheduleShape::constant, 0.5, 0}, 9, 10) == 1);
  CHECK(factor_by_steps({ScheduleShape::linear, 0, 0}, 9, 10) == 1);
}

TEST_CASE("a linear ramp stays at its end") {
  CHECK(linear_ramp(0.92, 0.99, 1500, 0) == 0.92);
  CHECK(linear_ramp(0.92, 0.99, 1500, 749) == Approx(0.9549533333333333).epsilon(1e-12));
  CHECK(linear_ramp(0.92, 0.99, 1500, 1500) == 0.99);
  CHECK(linear_ramp(0.92, 0.99, 0, 0) == 0.99);
}

TEST_CASE("settings from a resolved manifest") {
  Json manifest = Json::parse(R"({"train": {"sequence": 8, "tokens_per_step": 64, "micro_batches": 2,
      "stop": {"seconds": 5, "steps": null}, "schedule": {"shape": "cosine", "warmdown": 0.5, "minimum": 0.1, "by": "auto"},
      "fake_quant": [{"match": "core", "bits": 5}], "average": {"ema": null, "swa": {"every": 3, "below": 0.4}, "blend": 0.25}},
      "optimizers": [{"match": "matrix", "use": "muon"}, {"match": "vector", "use": "adamw"}]})");
  const TrainSettings settings = TrainSettings::from_json(manifest);
  CHECK(settings.schedule_by_seconds);
  CHECK(settings.schedule.shape == ScheduleShape::cosine);
  CHECK(settings.schedule.minimum == 0.1);
  CHECK_FALSE(settings.average.ema);
  CHECK(settings.average.swa_every == 3);
  CHECK(settings.average.blend == 0.25);
  CHECK(settings.fake_quant.at(0).bits == 5);
  CHECK(settings.optimizers == std::vector<std::string>{"matrix", "vector"});
  CHECK(settings.checkpoint_seconds == 60);

  manifest["train"]["schedule"]["by"] = "steps";
  CHECK_THROWS_AS(TrainSettings::from_json(manifest), Error);
  manifest["train"]["stop"]["steps"] = 10;
  CHECK_FALSE(TrainSettings::from_json(manifest).schedule_by_seconds);
  manifest["train"]["tokens_per_step"] = 60;
  CHECK_THROWS_AS(TrainSettings::from_json(manifest), Error);
}
