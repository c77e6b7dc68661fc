// The runner with a shell script in place of the program: what happens to jobs that fail, die, or are left by a runner
// that was killed. The script writes what a run's folder holds.
#include "registry/sweep/runner.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "registry/sweep/lock.h"
#include "registry/sweep/result.h"
#include "tests/support/catch.h"
#include "tests/unit/registry_sweep/fixture.h"

using namespace caddie;
using namespace caddie::registry;
namespace fs = std::filesystem;
using pipeline::Need;

namespace {

// A sweep's folder, and a script that is given RUN-FOLDER JOB.
struct Place {
  Scratch scratch;
  fs::path folder;

  explicit Place(const std::vector<std::string>& variants, const std::string& script) {
    log::set_quiet(true);
    folder = make_sweep(scratch.path / "runs", "20260101T000000Z_s_01234567", "s", variants, {1});
    make_directories(folder / "jobs");
    for (const SweepJob& job : load_sweep_record(folder).jobs)
      write_json(folder / "jobs" / (job.job + ".json"), {{"resolved", {{"name", "tiny"}}}});
    // done_ FOLDER STATUS: the run's folder as the program leaves it. The trap comes first: a shell that gets the
    // signal while it waits for a child of its own would pass over it.
    const std::string prelude =
        "trap 'exit 75' INT\ndone_() { mkdir -p $1/stages; "
        "printf '{\"result\": {\"status\": \"'$2'\", \"metrics\": {\"val_bpb\": 1.5}}}' > $1/.r; "
        "mv $1/.r $1/result.json; }\n";
    write_atomic(scratch.path / "job.sh",
                 prelude + "echo $2 >> " + (scratch.path / "calls").string() + "\n" + script + "\n");
  }
  RunnerSettings settings() const {
    RunnerSettings settings;
    settings.command = [this](const SweepJob& job, const std::string& run, int) {
      return std::vector<std::string>{"/bin/bash", (scratch.path / "job.sh").string(),
                                      (scratch.path / "runs" / run).string(), job.job};
    };
    settings.slots.folder = scratch.path / "slots";
    settings.slots.cores = 8;
    settings.jobs = 4;
    settings.poll_seconds = 0.005;
    return settings;
  }
  RunnerOutcome run(const RunnerSettings& settings, std::vector<RunnerJob> jobs = {}) const {
    if (jobs.empty()) jobs.resize(load_sweep_record(folder).jobs.size());
    return run_sweep(SweepFolder(folder), jobs, settings);
  }
  RunnerOutcome run() const { return run(settings()); }
  SweepRecord record() const { return load_sweep_record(folder); }
  std::string status(std::size_t job) const { return record().jobs[job].status; }
  std::vector<std::string> calls() const {
    std::vector<std::string> lines;
    std::ifstream in(scratch.path / "calls");
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  bool exists(const char* name) const { return fs::exists(scratch.path / name); }
};

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 8000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace

TEST_CASE("all jobs run; what failed is told with its reason, and the others are fine") {
  const Place place({"a", "b", "c"}, "if [ $2 = b_s1 ]; then echo 'error: no space left' >&2; exit 1; fi\ndone_ $1 ok");
  CHECK_FALSE(place.run().interrupted);
  const SweepRecord record = place.record();
  CHECK(record.jobs[0].status == "ok");
  CHECK(record.jobs[1].status == "failed");
  CHECK(record.jobs[1].attempts.at(0).reason == "exit 1: no space left");
  CHECK(record.jobs[2].status == "ok");
  CHECK(sweep_exit_code(record) == 8);
  const Json result = sweep_result(record);
  CHECK(result.at("runs").at(0).at("metrics").at("val_bpb") == 1.5);
  CHECK(read_json(record.runs / record.jobs[0].run / "sweep.json") ==
        Json{{"sweep", record.id}, {"job", "a_s1"}, {"variant", "a"}});
  // Another runner has nothing to do, and a retry does the failed one again under its run.
  place.run();
  CHECK(place.calls().size() == 3);
  auto retry = place.settings();
  retry.retry_failed = true;
  place.run(retry);
  CHECK(place.calls().size() == 4);
  CHECK(place.record().jobs[1].run == record.jobs[1].run);
}

TEST_CASE("retries, --fail-fast and --max-failures") {
  SECTION("a failure is tried again so many times; a wrong manifest is not") {
    const Place place({"a", "b"}, "[ $2 = b_s1 ] && exit 2\n"
                                  "if [ -e $1/tried ]; then done_ $1 ok; else touch $1/tried; exit 1; fi");
    auto settings = place.settings();
    settings.retries = 1;
    place.run(settings);
    CHECK(place.status(0) == "ok");
    CHECK(place.record().jobs[0].attempts.size() == 2);
    CHECK(place.record().jobs[1].attempts.size() == 1);
  }
  SECTION("the first failure stops all; they can be resumed") {
    // The failure waits for the other one, whose shell passes over signals while it starts.
    const Place place({"a", "b", "c"}, "cd $(dirname $1)\n"
                                       "[ $2 = a_s1 ] && { while [ ! -e b ]; do sleep 0.01; done; exit 1; }\n"
                                       "[ -e $1/again -o $2 = c_s1 ] && { done_ $1 ok; exit; }\ntouch $1/again b\n"
                                       "for i in $(seq 6000); do sleep 0.01; done");
    auto settings = place.settings();
    settings.jobs = 2;
    settings.fail_fast = true;
    CHECK(place.run(settings).interrupted);
    CHECK(place.status(0) == "failed");
    CHECK(place.status(1) == "interrupted");
    CHECK(place.status(2) == "pending");
    place.run();
    CHECK(place.status(1) == "ok");
  }
  SECTION("so many failures start no more") {
    const Place place({"a", "b", "c", "d"}, "exit 1");
    auto settings = place.settings();
    settings.jobs = 1;
    settings.max_failures = 2;
    place.run(settings);
    CHECK(place.calls().size() == 2);
    CHECK(place.status(3) == "pending");
  }
}

TEST_CASE("a job that is killed is started again under the same run; one that crashes has failed") {
  const Place place({"a", "b"}, "if [ -e $1/once ]; then done_ $1 ok; exit; fi\ntouch $1/once\n"
                                "[ $2 = a_s1 ] && kill -9 $$\nkill -SEGV $$");
  place.run();
  CHECK(place.status(0) == "ok");
  CHECK(place.record().jobs[0].attempts.at(0).reason == "ended by SIGKILL (out of memory, or by hand)");
  CHECK(place.record().jobs[0].attempts.at(0).run == place.record().jobs[0].attempts.at(1).run);
  CHECK(place.status(1) == "failed");
  CHECK(place.record().jobs[1].attempts.at(0).reason == "crashed: SIGSEGV");
}

TEST_CASE("jobs that share a stage: one computes it while the others take no slot; a dead one is taken over from") {
  // The trainer of the shared stage dies at its first attempt.
  const Place place({"a", "b", "c"}, "sleep 0.05; mkdir -p $1/stages; echo {} > $1/stages/train.json; done_ $1 ok");
  std::vector<RunnerJob> jobs(3);
  for (RunnerJob& job : jobs) job.needs = {Need{"train", "train", "", "shared", false, 0}};
  jobs[1].needs = {Need{"train", "train", "", "other", false, 0}};
  auto settings = place.settings();
  settings.jobs = 2;
  place.run(settings, jobs);
  std::vector<std::string> calls = place.calls();
  REQUIRE(calls.size() == 3);
  std::sort(calls.begin(), calls.begin() + 2);  // two start at the same time
  CHECK(calls == std::vector<std::string>{"a_s1", "b_s1", "c_s1"});
  const SweepRecord record = place.record();
  CHECK(record.jobs[2].status == "ok");
}

TEST_CASE("an exclusive job runs alone") {
  const Place place({"a", "b", "c"}, "cd $(dirname $1)/..\nls busy* >> seen.$2 2>/dev/null\ntouch busy.$2\n"
                                     "sleep 0.05\nrm busy.$2\ndone_ $1 ok");
  std::vector<RunnerJob> jobs(3);
  jobs[0].exclusive = true;
  place.run(place.settings(), jobs);
  CHECK(place.calls().back() == "a_s1");
  CHECK(fs::file_size(place.scratch.path / "seen.a_s1") == 0);
  CHECK(sweep_exit_code(place.record()) == 0);
}

TEST_CASE("kill -9 of the runner: its jobs go on, the next runner waits for them and starts none twice") {
  const Place place({"a", "b", "c"}, "while [ ! -e $(dirname $1)/go ]; do sleep 0.01; done; done_ $1 ok");
  auto settings = place.settings();
  settings.jobs = 2;
  const pid_t runner = ::fork();
  if (runner == 0) {
    place.run(settings);
    ::_exit(0);
  }
  REQUIRE(eventually([&] { return place.calls().size() == 2; }));
  CHECK_THROWS_WITH(place.run(), Catch::Contains("is being run by process"));
  ::kill(runner, SIGKILL);
  ::waitpid(runner, nullptr, 0);
  CHECK(place.status(0) == "running");  // its process is alive
  write_atomic(place.scratch.path / "runs" / "go", std::string_view("\n"));
  place.run(settings);
  std::vector<std::string> calls = place.calls();
  REQUIRE(calls.size() == 3);
  std::sort(calls.begin(), calls.begin() + 2);  // two start at the same time
  CHECK(calls == std::vector<std::string>{"a_s1", "b_s1", "c_s1"});
  CHECK(sweep_exit_code(place.record()) == 0);
  for (const SweepJob& job : place.record().jobs) CHECK(job.attempts.size() == 1);
}

TEST_CASE("stop once: jobs are asked to write a checkpoint; a request cancels one job") {
  const Place place({"a", "b"}, "[ -e $1/again ] && { done_ $1 ok; exit; }\ntouch $1/again\n"
                                "for i in $(seq 6000); do sleep 0.01; done");
  const pid_t runner = ::fork();
  if (runner == 0) ::_exit(place.run().interrupted ? 75 : 0);
  REQUIRE(eventually([&] { return place.calls().size() == 2; }));
  REQUIRE(eventually([&] { return fs::exists(place.scratch.path / "runs" / place.record().jobs[0].run / "again"); }));
  SECTION("all") {
    ::kill(runner, SIGINT);
    int status = 0;
    ::waitpid(runner, &status, 0);
    CHECK(WEXITSTATUS(status) == 75);
    CHECK(place.status(0) == "interrupted");
    CHECK(place.status(1) == "interrupted");
    CHECK(sweep_exit_code(place.record()) == 75);
    place.run();
    CHECK(place.status(0) == "ok");
  }
  SECTION("one") {
    make_directories(place.folder / "requests");
    write_atomic(place.folder / "requests" / "b_s1", std::string_view("cancelled\n"));
    REQUIRE(eventually([&] { return place.status(1) == "cancelled"; }));
    CHECK(place.status(0) == "running");
    ::kill(runner, SIGINT);
    ::waitpid(runner, nullptr, 0);
    place.run();
    CHECK(place.status(1) == "cancelled");
    auto retry = place.settings();
    retry.retry_failed = true;
    place.run(retry);
    CHECK(place.status(1) == "ok");
  }
}
