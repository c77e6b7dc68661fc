// What a plan says is shared, and which jobs wait for one another.
#include "caddie/error.h"
#include "registry/sweep/gate.h"
#include "registry/sweep/plan.h"
#include "registry/sweep/slots.h"
#include "registry/sweep/slurm.h"
#include "tests/support/catch.h"
#include "tests/unit/registry_sweep/fixture.h"

using namespace caddie;
using namespace caddie::registry;
using pipeline::Need;

namespace {

Need need(const std::string& stage, const std::string& token, bool cached = false) {
  return {stage, stage, cached ? token : "", token, cached, 0};
}

// 2 seeds; quantizers a and b; compressors x and y: training depends on the seed alone.
SweepPlan grid_plan() {
  SweepPlan plan{"grid", {}};
  for (const std::string quantizer : {"a", "b"})
    for (const std::string compressor : {"x", "y"})
      for (int seed : {1, 2}) {
        const std::string s = std::to_string(seed);
        PlannedJob job;
        job.job.variant = quantizer + compressor;
        job.job.seed = seed;
        job.job.job = job.job.variant + "_s" + s;
        job.forecast.needs = {need("data", "d", true), need("train", "t" + s), need("quantize", "q" + quantizer + s),
                              need("compress", "c" + quantizer + compressor + s), need("evaluate", "val" + s),
                              need("evaluate", "round" + quantizer + s)};
        job.forecast.predicted = {{"seconds", {{"train", 100.0}, {"quantize", 10.0}, {"evaluate", 4.0}}}};
        plan.jobs.push_back(job);
      }
  return plan;
}

std::vector<std::vector<Need>> needs_of(const SweepPlan& plan) {
  std::vector<std::vector<Need>> needs;
  for (const PlannedJob& job : plan.jobs) needs.push_back(job.forecast.needs);
  return needs;
}

}  // namespace

TEST_CASE("a stage that several jobs need is computed once, and the plan says so beforehand") {
  const auto shares = stage_shares(grid_plan());
  REQUIRE(shares.size() == 5);
  const auto is = [&](std::size_t i, const std::string& stage, int cached, int computed, int shared) {
    CHECK(shares[i].stage == stage);
    CHECK(shares[i].runs == 8);
    CHECK(shares[i].cached == cached);
    CHECK(shares[i].computed == computed);
    CHECK(shares[i].shared == shared);
  };
  is(0, "data", 8, 0, 0);
  is(1, "train", 0, 2, 6);
  is(2, "quantize", 0, 4, 4);
  is(3, "compress", 0, 8, 0);
  is(4, "evaluate", 0, 4, 4);  // ax computes val and round of a; bx round of b
}

TEST_CASE("the predicted time counts shared work once, over the slots") {
  const Timeline one = timeline(grid_plan(), 1), two = timeline(grid_plan(), 2);
  // 2 trainings, 4 quantizations, val and round-trip scores of 2 seconds each.
  CHECK(one.total == Approx(2 * 100 + 4 * 10 + 2 * 2 + 4 * 2));
  CHECK(two.total == Approx(one.total / 2).epsilon(0.1));
  CHECK(one.work[0] == Approx(114));
  CHECK(one.work[2] == Approx(0));
  const Json cut = plan_json(grid_plan(), 1, 230.0 / 3600);
  CHECK(cut.at("cut").size() == 4);  // after the trainings of both seeds there is no time for the quantizer b
  CHECK(cut.at("stages").at("train") == Json{{"runs", 8}, {"cached", 0}, {"computed", 2}, {"shared", 6}});
}

TEST_CASE("a job waits while another computes what it needs first, and not longer") {
  Gate gate(needs_of(grid_plan()));
  CHECK_FALSE(gate.held(0));
  gate.start(0);          // ax seed 1 trains
  CHECK_FALSE(gate.held(1));  // seed 2
  CHECK(gate.held(2));    // ay seed 1
  CHECK(gate.held(4));    // bx seed 1
  std::string stage;
  CHECK(gate.waits_for(4, stage) == 0);
  CHECK(stage == "train");
  gate.stage_done(0, "train");
  CHECK(gate.held(2));        // its quantization is the same
  CHECK_FALSE(gate.held(4));  // another quantizer
  gate.start(4);
  CHECK(gate.held(6));
  gate.end(4, false);  // it died: the next one takes over
  CHECK_FALSE(gate.held(6));
  gate.end(0, true);
  CHECK_FALSE(gate.held(2));
}

TEST_CASE("slots: cores and GPUs are leased once, and an exclusive lease holds them all") {
  const Scratch scratch;
  const Slots cpu({scratch.path, 4, 2, {}, 1});
  {
    auto first = cpu.try_lease(false, false);
    auto second = cpu.try_lease(false, false);
    REQUIRE(first);
    REQUIRE(second);
    CHECK_FALSE(cpu.try_lease(false, false));
    CHECK_FALSE(cpu.try_lease(false, true));
    first.reset();
    CHECK(cpu.try_lease(false, false));
  }
  const auto all = cpu.try_lease(false, true);
  REQUIRE(all);
  CHECK_FALSE(cpu.try_lease(false, false));

  const Scratch other;
  const Slots gpus({other.path, 4, 1, {"GPU-a", "GPU-b", "GPU-c"}, 2});
  const auto pair = gpus.try_lease(true, false);
  REQUIRE(pair);
  CHECK(pair->gpus == std::vector<std::string>{"GPU-a", "GPU-b"});
  CHECK_FALSE(gpus.try_lease(true, false));  // one is left, two are wanted
}

TEST_CASE("the batch script of an array says what the tasks need") {
  const SweepFolder folder("/shared/runs/sweeps/20260101T000000Z_s_01234567");
  SlurmSettings settings;
  settings.program = "/opt/ca'ddie/bin/caddie";
  settings.gpus = 2;
  settings.threads = 8;
  settings.parallel = 4;
  settings.options = {"time=01:00:00", "partition=gpu", "account=lab", "signal=B:USR2@300", "nice"};
  const std::string script = slurm_script(folder, {0, 1, 2, 5, 7, 8}, settings);
  const auto has = [&](const std::string& line) {
    INFO(script);
    CHECK(script.find(line + "\n") != std::string::npos);
  };
  has("#!/bin/bash");
  has("#SBATCH --array=0-2,5,7-8%4");
  has("#SBATCH --requeue");
  has("#SBATCH --open-mode=append");
  has("#SBATCH --gres=gpu:2");
  has("#SBATCH --cpus-per-task=8");
  has("#SBATCH --time=01:00:00");
  has("#SBATCH --partition=gpu");
  has("#SBATCH --account=lab");
  has("#SBATCH --signal=B:USR2@300");
  has("#SBATCH --nice");
  has("exec '/opt/ca'\\''ddie/bin/caddie' sweep task '/shared/runs/sweeps/20260101T000000Z_s_01234567' --place "
      "\"$SLURM_ARRAY_TASK_ID\"");
  CHECK(script.find("USR2@120") == std::string::npos);
  settings.gpus = 0;
  CHECK(slurm_script(folder, {3}, settings).find("gres") == std::string::npos);
  settings.exclusive = true;
  CHECK(slurm_script(folder, {3}, settings).find("#SBATCH --exclusive\n") != std::string::npos);
  for (const char* wrong : {"array=1-5", "=x", "time=1\n#SBATCH --uid=0", "Bad Key=1"}) {
    settings.options = {wrong};
    CHECK_THROWS_AS(slurm_script(folder, {0}, settings), Error);
  }
}
