// Sweeps through a real slurmctld and slurmd. Skips, and says why, where Slurm's packages are missing.
#include "tests/integration/slurm_cluster.h"

#include <chrono>
#include <cstdio>
#include <thread>

#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

const std::string kSweep = CADDIE_SOURCE_DIR "/tests/integration/tiny_sweep.yaml";

template <class Condition>
bool eventually(Condition condition, double seconds) {
  for (int i = 0; i < seconds * 10; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

}  // namespace

TEST_CASE("the script that would be submitted asks for GPUs where the manifest does") {
  const Workplace place;
  const auto script = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"sweep", "run", kSweep, "--launcher", "slurm", "--print-script"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = place.caddie(arguments);
    INFO(outcome.err);
    CHECK(outcome.exit_code == 0);
    return outcome.out;
  };
  CHECK(script({}).find("gres") == std::string::npos);
  CHECK(script({"--gpus", "2"}).find("#SBATCH --gres=gpu:2\n") != std::string::npos);
  CHECK(script({"device=cuda"}).find("#SBATCH --gres=gpu:1\n") != std::string::npos);
  // Those that train first, and those that wait for them.
  CHECK(script({}).find("#SBATCH --array=0-1\n") != std::string::npos);
  CHECK(script({"--jobs", "2"}).find("#SBATCH --array=2-7%2\n") != std::string::npos);
}

TEST_CASE("a sweep through Slurm: submitted, left alone, waited for; time limit, requeue, cancel") {
  if (const std::string why = SlurmCluster::missing(); !why.empty()) {
    SKIP_TEST("no Slurm here: " << why);
  }
  const SlurmCluster cluster;
  if (!cluster.ready()) {
    SKIP_TEST("Slurm's daemons do not come up here");
  }
  const Workplace place;
  const auto sweep = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "sweep");
    return place.caddie(arguments, {{cluster.environment()}, {}, 0});
  };

  // The launcher returns at once; the tasks do the rest.
  const Outcome submitted = sweep({"run", kSweep, "--launcher", "slurm", "--slurm", "time=00:10:00"});
  INFO(submitted.err);
  REQUIRE(submitted.exit_code == 0);
  CHECK(result_of(submitted).at("arrays").size() == 2);
  CHECK(result_of(submitted).at("submitted") == 8);
  const Outcome waited = sweep({"wait"});
  INFO(waited.err);
  CHECK(waited.exit_code == 0);
  const Json result = result_of(waited);
  for (const Json& run : result.at("runs")) CHECK(run.at("status") == "ok");
  CHECK(result.at("stages").at("train") == Json{{"computed", 2}, {"reused", 6}});

  // The time limit comes near: a checkpoint, and a place in the queue again.
  const Outcome longer = sweep({"run", kSweep, "--launcher", "slurm", "--until", "train", "train.stop.steps=4000", "seeds=[1]"});
  INFO(longer.err);
  REQUIRE(longer.exit_code == 0);
  const std::string array = result_of(longer).at("arrays").at(0);
  const auto first_job = [&] { return result_of(sweep({"status"})).at("jobs").at(0); };
  REQUIRE(eventually([&] {
    const Json job = first_job();
    return job.at("run").is_string() && fs::exists(place.runs() / job.at("run").get<std::string>() / "metrics.jsonl");
  }, 60));
  cluster.ask({"scancel", "--batch", "--signal=USR2", array + "_0"});
  REQUIRE(eventually([&] { return cluster.ask({"squeue", "-h", "-r", "-j", array, "-o", "%T"}).find("PENDING") == 0; }, 60));
  const Json waiting = first_job();
  CHECK(waiting.at("status") == "pending");
  CHECK(waiting.at("attempts").size() == 1);
  cluster.ask({"scontrol", "update", "JobId=" + array + "_0", "StartTime=now"});
  REQUIRE(eventually([&] { return first_job().at("attempts").size() == 2; }, 60));
  CHECK(first_job().at("run") == waiting.at("run"));

  const Json cancelled = result_of(sweep({"cancel"}));
  CHECK(cancelled.at("cancelled").size() == 4);
  REQUIRE(eventually([&] { return cluster.ask({"squeue", "-h", "-o", "%T"}).empty(); }, 60));
  CHECK(result_of(sweep({"status"})).at("counts") == Json{{"cancelled", 4}});
}
