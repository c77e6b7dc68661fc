// Runs that are stopped early because they are hopeless, and seeds that are added until it is decided.
#include <cmath>

#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/config/frozen.h"
#include "registry/sweep/folder.h"
#include "registry/sweep/halving.h"
#include "registry/sweep/significance.h"
#include "tests/support/catch.h"
#include "tests/unit/registry_sweep/fixture.h"

using namespace caddie;
using namespace caddie::registry;
namespace fs = std::filesystem;

namespace {

// A job that has come to `steps` of 100, with a constant loss.
void at_step(const fs::path& folder, std::size_t job, int steps, double loss, const std::string& status = "running") {
  SweepRecord record = load_sweep_record(folder);
  SweepJob& s = record.jobs[job];
  s.status = status;
  s.run = "run_" + s.job;
  const fs::path run = record.runs / s.run;
  make_directories(run);
  make_directories(folder / "jobs");
  std::string lines;
  for (int step = 1; step <= steps; ++step) lines += canonical(Json{{"step", step}, {"train_loss", loss}}) + "\n";
  write_atomic(run / "metrics.jsonl", lines);
  write_json(folder / "jobs" / (s.job + ".json"), {{"resolved", {{"train", {{"stop", {{"steps", 100}, {"seconds", nullptr}}}}}}}});
  SweepFolder(folder).write_state(s);
}

// As it stands in a runner: "running" jobs run, whoever holds their locks.
SweepRecord running(const fs::path& folder) {
  SweepRecord record = load_sweep_record(folder);
  for (SweepJob& job : record.jobs)
    if (job.status == "interrupted") job.status = "running";
  return record;
}

std::vector<std::vector<pipeline::Need>> own_trainings(const std::vector<std::string>& tokens) {
  std::vector<std::vector<pipeline::Need>> needs;
  for (const std::string& token : tokens) needs.push_back({{"train", "train", "", token, false, 0}});
  return needs;
}

void finish(const fs::path& folder, std::size_t job, double score) {
  SweepRecord record = load_sweep_record(folder);
  SweepJob& s = record.jobs[job];
  s.status = "ok";
  s.run = "run_" + s.job;
  make_directories(record.runs / s.run);
  write_json(record.runs / s.run / "result.json", {{"result", {{"metrics", {{"val_bpb", score}}}}}});
  SweepFolder(folder).write_state(s);
}

}  // namespace

TEST_CASE("halving: at a quarter the worse half stops, with its numbers; what shares a training shares its fate") {
  const Scratch scratch;
  const fs::path folder = make_sweep(scratch.path, "20260101T000000Z_s_01234567", "s", {"base", "a", "b", "c", "c2"}, {1});
  Halving halving(own_trainings({"t0", "t1", "t2", "t3", "t3"}), "base");
  at_step(folder, 0, 30, 3.9);
  at_step(folder, 1, 30, 3.0);
  at_step(folder, 2, 20, 3.5);
  at_step(folder, 3, 30, 3.8);
  SweepRecord record = running(folder);
  CHECK_FALSE(halving(record, record.jobs[1]));
  CHECK_FALSE(halving(record, record.jobs[2]));  // not at the rung
  // 3.0, 3.8 and 3.9 are there: 3.8 is in the better half of three.
  CHECK_FALSE(halving(record, record.jobs[3]));
  CHECK_FALSE(halving(record, record.jobs[4]));
  at_step(folder, 2, 40, 3.5);
  record = running(folder);
  const auto reason = halving(record, record.jobs[3]);
  REQUIRE(reason);
  CHECK(*reason == "halving: at 25 % of the training its loss 3.8000 is number 3 of 4 (best 3.0000)");
  CHECK(halving(record, record.jobs[4]) == reason);  // waits for the same training
  CHECK_FALSE(halving(record, record.jobs[0]));      // the baseline is never stopped
  CHECK_FALSE(halving(record, record.jobs[1]));
}

TEST_CASE("seeds are added for what is not decided, and for the baseline") {
  const Scratch scratch;
  const fs::path folder =
      make_sweep(scratch.path, "20260101T000000Z_s_01234567", "s", {"base", "better", "noise", "same", "broken"}, {1, 2, 3});
  make_directories(folder / "jobs");
  const double noise[] = {0.01, -0.012, 0.004};
  for (std::size_t seed = 0; seed < 3; ++seed) {
    const double base = 1.2 + 0.01 * static_cast<double>(seed);
    finish(folder, seed, base);
    finish(folder, 3 + seed, base - 0.1 + 0.0001 * static_cast<double>(seed));
    finish(folder, 6 + seed, base + noise[seed]);
    finish(folder, 9 + seed, base);
  }
  for (const SweepJob& job : load_sweep_record(folder).jobs) {
    Manifest manifest;
    manifest.resolved = {{"name", "tiny"}, {"seed", job.seed}, {"variant", job.variant}};
    manifest.overrides = {"variant=" + job.variant, "seed=" + std::to_string(job.seed)};
    write_json(folder / "jobs" / (job.job + ".json"), freeze(manifest));
  }
  SignificanceSettings settings;
  settings.baseline = "base";
  const auto rows = standings(load_sweep_record(folder), settings);
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].decided);
  CHECK(rows[0].difference == Approx(-0.0999));
  CHECK_FALSE(rows[1].decided);
  CHECK(rows[2].decided);  // no difference at all, and no spread
  CHECK_FALSE(rows[3].decided);

  const MoreJobs more = one_more_seed(load_sweep_record(folder), settings);
  CHECK(more.text == "noise");
  REQUIRE(more.jobs.size() == 2);
  CHECK(more.jobs[0].job == "base_s4");
  CHECK(more.jobs[1].job == "noise_s4");
  CHECK(more.jobs[1].overrides == std::vector<std::string>{"variant=noise", "seed=4"});
  CHECK(more.manifests[1].resolved.at("seed") == 4);
  CHECK(more.jobs[1].hash == sha256(canonical(more.manifests[1].resolved)));
  settings.max_seeds = 3;
  CHECK(one_more_seed(load_sweep_record(folder), settings).jobs.empty());
}
