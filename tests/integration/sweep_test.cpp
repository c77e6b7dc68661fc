// Sweeps of whole runs: shared stages once, failures apart, and nothing lost when anything is killed.
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "caddie/error.h"
#include "caddie/services.h"
#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

const std::string kSweep = CADDIE_SOURCE_DIR "/tests/integration/tiny_sweep.yaml";

struct SweepPlace : Workplace {
  std::string slots = "CADDIE_SLOTS=" + (path() / "slots").string();
  Outcome sweep(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "sweep");
    return caddie(arguments, {{slots}, {}, 0});
  }
  fs::path folder() const {
    std::error_code code;
    for (const auto& item : fs::directory_iterator(runs() / "sweeps", code))
      if (item.path().filename().string()[0] != '.') return item.path();
    return {};
  }
  std::string write(const std::string& name, const std::string& text) const {
    write_atomic(path() / name, text);
    return (path() / name).string();
  }
};

// A sweep's result without what differs from one time to the next.
Json what_came_out(const Json& result) {
  Json rows = Json::array();
  for (const Json& run : result.at("runs"))
    rows.push_back({{"name", run.at("name")}, {"seed", run.at("seed")}, {"status", run.at("status")}, {"metrics", run.at("metrics")}});
  return {{"sweep", result.at("sweep")}, {"runs", rows}, {"stages", result.at("stages")}};
}

}  // namespace

TEST_CASE("8 runs over quantizer and compressor train twice; the plan says so, and the record shows it") {
  const SweepPlace place;
  const Json plan = result_of(place.sweep({"plan", kSweep}));
  CHECK(plan.at("jobs").size() == 8);
  CHECK(plan.at("stages").at("data") == Json{{"runs", 8}, {"cached", 0}, {"computed", 1}, {"shared", 7}});
  CHECK(plan.at("stages").at("train") == Json{{"runs", 8}, {"cached", 0}, {"computed", 2}, {"shared", 6}});
  CHECK(plan.at("stages").at("quantize") == Json{{"runs", 8}, {"cached", 0}, {"computed", 4}, {"shared", 4}});
  CHECK(plan.at("stages").at("ttt") == Json{{"runs", 8}, {"cached", 0}, {"computed", 4}, {"shared", 4}});
  CHECK(plan.at("predicted").at("seconds").get<double>() > 0);
  CHECK(plan.at("predicted").at("unpredicted").at("quantize") == 4);
  CHECK(plan.at("predicted").at("unpredicted").at("compress") == 8);
  CHECK_FALSE(fs::exists(place.runs()));

  const Outcome outcome = place.sweep({"run", kSweep});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(result.at("sweep") == "tiny_sweep");
  REQUIRE(result.at("runs").size() == 8);
  for (const Json& run : result.at("runs")) CHECK(run.at("status") == "ok");
  CHECK(result.at("stages").at("data") == Json{{"computed", 1}, {"reused", 7}});
  CHECK(result.at("stages").at("train") == Json{{"computed", 2}, {"reused", 6}});
  CHECK(result.at("stages").at("quantize") == Json{{"computed", 4}, {"reused", 4}});
  CHECK(result.at("stages").at("ttt") == Json{{"computed", 4}, {"reused", 4}});
  const fs::path run = place.runs() / result.at("runs").at(0).at("run").get<std::string>();
  CHECK(read_json(run / "sweep.json").at("job") == "quantize.use=gptq,compress.use=brotli_s1");
  CHECK(read_text(run / "overrides.txt").find("seed=1") != std::string::npos);
  // The same once more: nothing is computed. It is a sweep of its own, since the first is finished.
  const Json again = result_of(place.sweep({"run", kSweep, "--jobs", "2"}));
  CHECK(again.at("stages").at("train") == Json{{"computed", 0}, {"reused", 8}});
  CHECK(result_of(place.sweep({"plan", kSweep})).at("stages").at("train").at("cached") == 8);
  CHECK(result_of(place.sweep({"list"})).at("sweeps").size() == 2);
  // What ran once is predicted for other seeds.
  const Json more = result_of(place.sweep({"plan", kSweep, "--seeds", "3"})).at("predicted");
  CHECK(more.at("unpredicted") == Json::object());
  CHECK(more.at("work_seconds").get<double>() > 0);
  CHECK(result_of(place.sweep({"status", "tiny_sweep"})).at("counts") == Json{{"ok", 8}});
}

TEST_CASE("a job that fails leaves the others alone; what is wrong with the sweep is told before anything runs") {
  const SweepPlace place;
  const std::string file = place.write("s.yaml", "sweep: s\nbase: " + kTiny + "\nseeds: [1]\noverrides: {train.stop.steps: 4, ttt: null}\n"
                                       "variants:\n  good: {}\n  bad: {\"optimizers[match=matrix].learning_rate\": 1.0e+30}\n");
  const Outcome outcome = place.sweep({"run", file, "--until", "train"});
  INFO(outcome.err);
  CHECK(outcome.exit_code == 8);
  const Json result = result_of(outcome);
  CHECK(result.at("runs").at(0).at("status") == "ok");
  CHECK(result.at("runs").at(1).at("status") == "failed");
  CHECK(result.at("runs").at(1).at("reason").get<std::string>().find("exit 1") == 0);

  const std::string wrong = place.write("w.yaml", "sweep: w\nbase: " + kTiny + "\nvariants:\n  a: {model.layrs: 2}\n  b: {seed: x}\n");
  const Outcome refused = place.sweep({"run", wrong});
  CHECK(refused.exit_code == 2);
  CHECK(refused.err.find("2 errors; nothing was run") != std::string::npos);
  CHECK(place.sweep({"resume", "nothing"}).exit_code == 2);
  CHECK(place.sweep({"run", kSweep, "--launcher", "pbs"}).exit_code == 2);
}

TEST_CASE("kill -9 of the runner or of a run at any moment, then resume: the result is that of an undisturbed sweep") {
  static const Json expected = [] {
    const SweepPlace undisturbed;
    return what_came_out(result_of(undisturbed.sweep({"run", kSweep})));
  }();
  const int trial = GENERATE(range(0, 3));
  CAPTURE(trial);
  const SweepPlace place;
  Random random(static_cast<std::uint64_t>(trial), "moments");
  std::vector<std::string> arguments = {"sweep", "run", kSweep};
  bool done = false;
  for (int kill = 0; kill < 4 && !done; ++kill) {
    Process runner(place.command(arguments), {{place.slots}, {}, 0});
    const double moment = 0.15 + 2.5 * random.uniform();
    std::this_thread::sleep_for(std::chrono::duration<double>(moment));
    if (random.uniform() < 0.5) {
      runner.kill(SIGKILL);
      runner.wait(30);
    } else {
      // One of its runs; the runner starts it again.
      std::error_code code;
      for (const auto& item : fs::directory_iterator(place.folder() / "locks", code)) {
        if (item.path().filename() == "runner.lock") continue;
        const std::string owner = read_text(item.path());
        if (!owner.empty() && kill % 2 == 0 && fs::exists("/proc/" + owner.substr(0, owner.size() - 1) + "/exe"))
          ::kill(static_cast<pid_t>(std::stol(owner)), SIGKILL);
      }
      const Outcome outcome = runner.wait(120);
      INFO(outcome.err);
      CHECK(outcome.exit_code == 0);
      done = true;
    }
    // A runner that was killed before it had made the sweep's folder has left nothing.
    if (!place.folder().empty()) arguments = {"sweep", "resume"};
  }
  const Outcome outcome = place.sweep(place.folder().empty() ? std::vector<std::string>{"run", kSweep} : std::vector<std::string>{"resume"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(what_came_out(result) == expected);
  // No run twice: as many run folders as jobs.
  CHECK(place.run_count() == 8 + 1);
}

TEST_CASE("Ctrl-C once: exit 75, and resume goes on; twice: at once") {
  const SweepPlace place;
  const auto training = [&] {
    std::error_code code;
    for (const auto& item : fs::directory_iterator(place.runs(), code))
      if (fs::exists(item.path() / "metrics.jsonl", code) && read_json_lines(item.path() / "metrics.jsonl").size() >= 4) return true;
    return false;
  };
  const std::vector<std::string> arguments = {"sweep", "run", kSweep, "--until", "train", "train.stop.steps=400", "seeds=[1]"};
  {
    Process runner(place.command(arguments), {{place.slots}, {}, 0});
    while (runner.running() && !training()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    runner.kill(SIGINT);
    const Outcome stopped = runner.wait(60);
    INFO(stopped.err);
    CHECK(stopped.exit_code == 75);
    CHECK(result_of(stopped).at("runs").at(0).at("status") == "interrupted");
    CHECK(stopped.err.find("checkpoints") != std::string::npos);
  }
  {
    Process runner(place.command({"sweep", "resume"}), {{place.slots}, {}, 0});
    const fs::path status = place.runs() / result_of(place.sweep({"status"})).at("jobs").at(0).at("run").get<std::string>() / "status.json";
    while (runner.running() && read_json(status).at("status") != "running") std::this_thread::sleep_for(std::chrono::milliseconds(2));
    runner.kill(SIGTERM);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    runner.kill(SIGTERM);
    const int code = runner.wait(30).exit_code;
    CHECK((code == 143 || code == 75));  // 75: the first was over before the second came
  }
  const Outcome resumed = place.sweep({"resume"});
  INFO(resumed.err);
  CHECK(resumed.exit_code == 0);
  CHECK(result_of(resumed).at("stages").at("train") == Json{{"computed", 1}, {"reused", 3}});
  CHECK(place.run_count() == 4 + 1);
}
