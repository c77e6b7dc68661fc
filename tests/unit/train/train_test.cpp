#include "core/train/train.h"

#include <ATen/ops/arange.h>

#include <fstream>

#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/train/checkpoint.h"
#include "tests/support/catch.h"
#include "tests/unit/train/support.h"

using namespace caddie;
using namespace caddie::testing;
using namespace caddie::train;
namespace fs = std::filesystem;

namespace {

const Catalogue& catalogue() {
  static const Catalogue all({CADDIE_PLUGIN_DIR});
  return all;
}

struct Killed {};  // stands for the end of the process between two steps

// One process' training: fresh model and source, as a new start of the program has them.
struct Run {
  TrainableModel model;
  FormulaSource source;
  SoloCommunicator solo;
  QuietServices services;
  TrainJob job{model, source, solo, services, plugins(catalogue()), {}, "identity", {}, {}, {}};
  TrainResult operator()(const TrainSettings& settings) { return train::train(settings, job); }
};

void kill_after(Run& run, std::int64_t step) {
  run.job.on_step = [step](const StepMetrics& metrics) {
    if (metrics.step == step) throw Killed{};
  };
}

}  // namespace

TEST_CASE("training learns the rule and reports what it did") {
  Run run;
  std::vector<StepMetrics> metrics;
  run.job.on_step = [&](const StepMetrics& m) { metrics.push_back(m); };
  const TrainResult result = run(tiny_settings(60));
  CHECK(result.steps == 60);
  REQUIRE(metrics.size() == 60);
  CHECK(metrics.front().train_loss > 2);
  CHECK(result.train_loss < 0.7 * metrics.front().train_loss);
  CHECK(metrics.back().train_loss == result.train_loss);
  CHECK(metrics.front().step == 1);
  CHECK(metrics.front().rate_factor == 1);
  CHECK(metrics.back().rate_factor == Approx(1 / 21.0));
  CHECK(result.weights.size() == 4);
  CHECK_FALSE(same(result.weights, result.last_weights));
  CHECK(result.step_ms_median > 0);
  CHECK(result.tokens_per_second > 0);
  CHECK(result.peak_memory_bytes > 0);
  CHECK_FALSE(result.resumed_from_step);
  CHECK(run.source.taken() == 120);
}

TEST_CASE("weights are rounded from a share of the budget on, and the optimizers and the model know the share") {
  struct Told final : public Optimizer {
    std::vector<double>& shares;
    explicit Told(std::vector<double>& out) : shares(out) {}
    void step(const StepContext& context) override { shares.push_back(context.progress); }
    void save(StateWriter&) const override {}
    void load(const StateReader&) override {}
    std::int64_t state_bytes() const override { return 0; }
  };
  Run run;
  std::vector<double> shares;
  std::vector<std::size_t> rules;
  run.job.optimizers = [&](std::size_t, const OptimizerContext&) { return std::make_shared<Told>(shares); };
  run.job.on_step = [&](const StepMetrics&) { rules.push_back(run.model.rules().size()); };
  TrainSettings settings = tiny_settings(4);
  settings.warmup_steps = 1;
  settings.fake_quant_from = 0.5;
  run(settings);
  CHECK(rules == std::vector<std::size_t>{0, 0, 2, 2});
  CHECK(run.model.progress == 1);  // what scores come next see the trained form
  REQUIRE(shares.size() == 3 * 5);
  CHECK(shares.back() == 0.75);

  settings.stop_seconds = 10;
  settings.schedule_by_seconds = true;
  CHECK(progress_share(settings, 3, 2.5) == 0.25);
  CHECK(progress_share(settings, 3, 12) == 1);
}

TEST_CASE("sequences grow by the schedule, and a step keeps its tokens in their order") {
  struct Rows final : public BatchSource {
    Batch next() override {
      const at::Tensor ring = at::arange(13, at::kLong).add(13 * taken++).remainder(13);
      return {ring.narrow(0, 0, 12).view({2, 6}), ring.narrow(0, 1, 12).view({2, 6})};
    }
    void save(StateWriter&) const override {}
    void load(const StateReader&) override {}
    std::int64_t taken = 0;
  } source;
  Run run;
  TrainSettings settings = tiny_settings(10);
  settings.sequence_schedule = {{0.3, 2}, {0.5, 3}};
  TrainJob job{run.model, source, run.solo, run.services, descent(0.01), {}, "identity", {}, {}, {}};
  std::vector<std::int64_t> lengths;
  job.on_step = [&](const StepMetrics&) { lengths.push_back(run.model.last_tokens.size(1)); };
  train::train(settings, job);
  CHECK(lengths == std::vector<std::int64_t>{2, 2, 2, 3, 3, 6, 6, 6, 6, 6});
  CHECK(source.taken == 20);
  CHECK(sequence_at(settings, 0) == 2);
  CHECK(sequence_at(settings, 1) == 6);
  CHECK(run.model.last_tokens.reshape({-1}).equal(at::arange(12, at::kLong)));

  Json manifest = {{"train", {{"sequence", 6}, {"tokens_per_step", 24}, {"stop", {{"steps", 4}}},
                              {"sequence_schedule", Json::array({{{"until", 0.3}, {"sequence", 4}}})}}},
                   {"optimizers", Json::array()}};
  CHECK_THROWS_AS(TrainSettings::from_json(manifest), Error);
  manifest["train"]["sequence_schedule"][0]["sequence"] = 3;
  CHECK(TrainSettings::from_json(manifest).sequence_schedule.size() == 1);
}

TEST_CASE("warm-up steps leave no trace") {
  Run plain, warmed;
  TrainSettings settings = tiny_settings(6);
  const TrainResult expected = plain(settings);
  settings.warmup_steps = 3;
  const TrainResult result = warmed(settings);
  CHECK(same(result.weights, expected.weights));
  CHECK(same(result.last_weights, expected.last_weights));
  CHECK(result.train_loss == expected.train_loss);
  CHECK(warmed.source.taken() == plain.source.taken());
  CHECK(warmed.model.prepared == plain.model.prepared + 3);  // the steps were made
}

TEST_CASE("a training that was killed goes on from its checkpoint to the same weights, bit for bit") {
  Run whole;
  TrainSettings settings = tiny_settings(11);
  settings.checkpoint_steps = 3;
  const TrainResult expected = whole(settings);

  const TemporaryFolder folder;
  for (std::int64_t step : {7, 10}) {  // killed twice: checkpoints of steps 6 and 9 are there
    Run killed;
    killed.job.checkpoint_folder = folder.path;
    kill_after(killed, step);
    CHECK_THROWS_AS(killed(settings), Killed);
  }
  Run resumed;
  resumed.job.checkpoint_folder = folder.path;
  std::int64_t told = -1;
  resumed.job.on_resume = [&](std::int64_t step) { told = step; };
  const TrainResult result = resumed(settings);
  CHECK(result.resumed_from_step == 9);
  CHECK(told == 9);
  CHECK(result.steps == 11);
  CHECK(same(result.weights, expected.weights));
  CHECK(same(result.last_weights, expected.last_weights));
  CHECK(result.train_loss == expected.train_loss);
  CHECK(result.swa_count == expected.swa_count);
}

TEST_CASE("a stop on request writes a checkpoint first") {
  const TemporaryFolder folder;
  const TrainSettings settings = tiny_settings(9);
  Run whole;
  const TrainResult expected = whole(settings);
  Run stopped;
  stopped.job.checkpoint_folder = folder.path;
  stopped.job.on_step = [](const StepMetrics& metrics) {
    if (metrics.step == 4) request_interrupt();
  };
  try {
    stopped(settings);
    FAIL("the training went on");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::interrupted);
  }
  clear_interrupt();
  Run resumed;
  resumed.job.checkpoint_folder = folder.path;
  const TrainResult result = resumed(settings);
  CHECK(result.resumed_from_step == 4);
  CHECK(same(result.weights, expected.weights));
}

TEST_CASE("the clock stops training: no step starts at or after the cap, checkpoints and warm-up cost nothing") {
  const TemporaryFolder folder;
  TrainSettings settings = tiny_settings(1000);
  settings.stop_seconds = 10;
  settings.schedule_by_seconds = true;
  settings.schedule.warmdown = 0.5;
  settings.warmup_steps = 2;
  settings.checkpoint_steps = 2;
  Run run;
  run.job.checkpoint_folder = folder.path;
  double now = 0;
  run.job.clock = [&now] { return now; };
  run.job.on_step = [](const StepMetrics&) {};
  // Time passes in the source: 1.5 s a step. Writing a checkpoint takes time too, which must not count.
  struct SlowSource final : BatchSource {
    FormulaSource inner;
    double& now;
    explicit SlowSource(double& clock) : now(clock) {}
    Batch next() override {
      now += 0.75;
      return inner.next();
    }
    void save(StateWriter& writer) const override {
      now += 100;
      inner.save(writer);
    }
    void load(const StateReader& reader) override { inner.load(reader); }
  } source(now);
  std::vector<StepMetrics> metrics;
  TrainJob job{run.model, source, run.solo, run.services, plugins(catalogue()), folder.path, "identity",
               [&](const StepMetrics& m) { metrics.push_back(m); }, {}, run.job.clock};
  const TrainResult result = train::train(settings, job);
  CHECK(result.steps == 7);  // they start at 0, 1.5, ..., 9
  CHECK(result.last_step_started_at == Approx(9));
  CHECK(result.seconds == Approx(10.5));
  CHECK(result.step_ms_median == Approx(1500));
  REQUIRE(metrics.size() == 7);
  CHECK(metrics[3].rate_factor == 1);                       // starts at 4.5
  CHECK(metrics[4].rate_factor == Approx(0.8));             // at 6: 4 of 5 seconds are left
  CHECK(metrics[6].elapsed_seconds == Approx(10.5));
}

TEST_CASE("elapsed time survives a resume") {
  const TemporaryFolder folder;
  TrainSettings settings = tiny_settings(1000);
  settings.stop_seconds = 10;
  settings.checkpoint_steps = 1;
  double now = 0;
  Run killed;
  killed.job.checkpoint_folder = folder.path;
  killed.job.clock = [&now] { return now += 0.5; };  // every look at the clock takes half a second
  kill_after(killed, 3);
  CHECK_THROWS_AS(killed(settings), Killed);
  Run resumed;
  resumed.job.checkpoint_folder = folder.path;
  double later = 1000;
  resumed.job.clock = [&later] { return later += 0.5; };
  double first = 0;
  resumed.job.on_step = [&](const StepMetrics& m) { first = first == 0 ? m.elapsed_seconds : first; };
  const TrainResult result = resumed(settings);
  CHECK(first > 2);
  CHECK(result.seconds >= 10);
  CHECK(result.seconds < 13);
}

TEST_CASE("checkpoints of another training, of damaged files and of full disks") {
  const TemporaryFolder folder;
  TrainSettings settings = tiny_settings(5);
  settings.checkpoint_steps = 2;
  Run first;
  first.job.checkpoint_folder = folder.path;
  kill_after(first, 4);
  CHECK_THROWS_AS(first(settings), Killed);
  CHECK(fs::exists(folder.path / "step_2" / "state.safetensors"));

  Run other;
  other.job.checkpoint_folder = folder.path;
  other.job.identity = "another";
  CHECK_THROWS_WITH(other(settings), Catch::Contains("belongs to another training"));

  const fs::path file = folder.path / "step_2" / "state.safetensors";
  fs::resize_file(file, fs::file_size(file) - 5);
  Run damaged;
  damaged.job.checkpoint_folder = folder.path;
  CHECK_THROWS_WITH(damaged(settings), Catch::Contains("cut short"));

  // Where no checkpoint can be written training goes on; a file in the folder's place is as good as a full disk.
  const TemporaryFolder blocked;
  { std::ofstream(blocked.path) << "not a folder"; }
  Run undisturbed;
  undisturbed.job.checkpoint_folder = blocked.path;
  CHECK(undisturbed(settings).steps == 5);
}

TEST_CASE("finished checkpoints are removed whole") {
  const TemporaryFolder folder;
  SoloCommunicator solo;
  Checkpoints checkpoints(folder.path, "x", solo);
  CHECK_FALSE(checkpoints.read());
  StateDictionary state(StateDictionary::Keep::references);
  state.number("n", 0.1);
  checkpoints.write(state, 1);
  checkpoints.write(state, 2);
  CHECK_FALSE(fs::exists(folder.path / "step_1"));
  CHECK(checkpoints.read()->number("n") == 0.1);
  checkpoints.remove();
  CHECK_FALSE(fs::exists(folder.path));
}
