// Runs that are stopped at any moment: nothing is lost, nothing is torn, and the result is that of an undisturbed run.
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

// The only run folder, once it is there.
fs::path run_folder(const Workplace& place) {
  std::error_code code;
  for (const auto& item : fs::directory_iterator(place.runs(), code)) return item.path();
  return {};
}

// Waits until `reached` holds or the process ends; tells which.
template <class Reached>
bool wait_for(Process& process, Reached reached) {
  while (process.running()) {
    if (reached()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

bool in_stage(const Workplace& place, const std::string& stage) {
  const fs::path status = run_folder(place) / "status.json";
  if (!fs::exists(status)) return false;
  return read_json(status).value("stage", Json()) == stage;
}

std::string weights_hash(const Json& result) {
  return read_json(fs::path(result.at("directory").get<std::string>()) / "stages/train.json").at("outputs").at("weights_hash");
}

}  // namespace

TEST_CASE("kill -9 in any stage: the next run ends with the result of an undisturbed one") {
  static const Json expected = [] {
    const Workplace undisturbed;
    return result_of(undisturbed.run());
  }();
  const std::string stage = GENERATE("data", "train", "quantize", "compress", "evaluate", "ttt");
  CAPTURE(stage);
  const Workplace place;
  {
    Process process(place.command({"run", kTiny}), {});
    REQUIRE(wait_for(process, [&] { return in_stage(place, stage); }));
    process.kill(SIGKILL);
    CHECK(process.wait(30).signal == SIGKILL);
  }
  const std::string id = run_folder(place).filename().string();
  const bool resume = GENERATE(false, true);
  const Outcome outcome = resume ? place.run({"--resume", id}) : place.run();
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(result.at("metrics") == expected.at("metrics"));
  CHECK(result.at("artifact").at("bytes") == expected.at("artifact").at("bytes"));
  CHECK(place.run_count() == (resume ? 1 : 2));
}

TEST_CASE("Ctrl-C while training writes a checkpoint; the resumed run has the same weights, bit for bit") {
  const Workplace undisturbed;
  const Json expected = result_of(undisturbed.run({"--until", "train"}));

  const Workplace place;
  Process process(place.command({"run", kTiny, "--until", "train"}), {});
  REQUIRE(wait_for(process, [&] {
    const fs::path metrics = run_folder(place) / "metrics.jsonl";
    return fs::exists(metrics) && read_json_lines(metrics).size() >= 6;
  }));
  process.kill(SIGINT);
  const Outcome stopped = process.wait(60);
  INFO(stopped.err);
  CHECK(stopped.exit_code == 75);
  CHECK(result_of(stopped).at("status") == "interrupted");
  CHECK(read_json(run_folder(place) / "status.json").at("status") == "interrupted");
  CHECK(stopped.err.find("--resume") != std::string::npos);

  const Outcome resumed = place.run({"--until", "train", "--resume", run_folder(place).filename().string()});
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  const Json result = result_of(resumed);
  CHECK(result.at("train").at("resumed_from_step").get<int>() >= 6);
  CHECK(result.at("train").at("steps") == 24);
  CHECK(weights_hash(result) == weights_hash(expected));
  CHECK(read_json_lines(run_folder(place) / "metrics.jsonl").size() == 24);
}

TEST_CASE("a killed training goes on from its last checkpoint") {
  const Workplace undisturbed;
  const Json expected = result_of(undisturbed.run({"--until", "train"}));
  const Workplace place;
  {
    Process process(place.command({"run", kTiny, "--until", "train"}), {});
    REQUIRE(wait_for(process, [&] { return fs::exists(run_folder(place) / "checkpoint/latest.json"); }));
    process.kill(SIGKILL);
    process.wait(30);
  }
  const Json result = result_of(place.run({"--until", "train", "--resume", run_folder(place).string()}));
  CHECK(result.at("train").at("resumed_from_step").get<int>() >= 4);
  CHECK(weights_hash(result) == weights_hash(expected));
}

TEST_CASE("resuming a finished run prints its result again; another manifest is refused") {
  const Workplace place;
  const Outcome first = place.run({"--until", "train"});
  const std::string id = result_of(first).at("run");
  CHECK(result_of(place.run({"--until", "train", "--resume", id})) == result_of(first));
  const Outcome other = place.run({"seed=9", "--resume", id});
  CHECK(other.exit_code == 2);
  CHECK(other.err.find("does not resolve to") != std::string::npos);
  CHECK(place.run({"--resume", "no_such_run"}).exit_code == 2);
}
