// Sweep folders are read as they are written, and found by what a person types.
#include "registry/sweep/record.h"

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/sweep/folder.h"
#include "registry/sweep/lock.h"
#include "tests/support/catch.h"
#include "tests/unit/registry_sweep/fixture.h"

using namespace caddie;
using namespace caddie::registry;
namespace fs = std::filesystem;

TEST_CASE("a plan and its states make a record") {
  const Scratch scratch;
  const fs::path folder = make_sweep(scratch.path, "20260101T000000Z_s_01234567", "s", {"a", "b"}, {1, 2});
  SweepRecord record = load_sweep_record(folder);
  CHECK(record.name == "s");
  CHECK(record.runs == scratch.path);
  REQUIRE(record.jobs.size() == 4);
  CHECK(record.jobs[3].job == "b_s2");
  CHECK(record.jobs[3].variant == "b");
  CHECK(record.jobs[3].status == "pending");

  SweepJob job = record.jobs[1];
  job.status = "failed";
  job.run = "r1";
  job.attempts = {{"r1", 1, "no space left", "2026-01-01T00:00:00Z", 1.5}};
  SweepFolder(folder).write_state(job);
  record = load_sweep_record(folder);
  CHECK(record.jobs[1].status == "failed");
  REQUIRE(record.jobs[1].attempts.size() == 1);
  CHECK(record.jobs[1].attempts[0].reason == "no space left");
  CHECK(record.jobs[0].status == "pending");
}

TEST_CASE("a job that says it runs, without a process that holds its lock, was interrupted") {
  const Scratch scratch;
  const fs::path path = make_sweep(scratch.path, "20260101T000000Z_s_01234567", "s", {"a"}, {1});
  const SweepFolder folder(path);
  SweepJob job = load_sweep_record(path).jobs[0];
  job.status = "running";
  folder.write_state(job);
  CHECK(load_sweep_record(path).jobs[0].status == "interrupted");
  {
    const auto lock = FileLock::try_take(folder.job_lock("a_s1"));
    REQUIRE(lock);
    CHECK_FALSE(FileLock::try_take(folder.job_lock("a_s1")));
    CHECK(load_sweep_record(path).jobs[0].status == "running");
  }
  CHECK(load_sweep_record(path).jobs[0].status == "interrupted");
}

TEST_CASE("a sweep is found by path, id, beginning, name, or as the latest") {
  const Scratch scratch;
  const fs::path first = make_sweep(scratch.path, "20260101T000000Z_s_01234567", "s", {"a"}, {1});
  const fs::path second = make_sweep(scratch.path, "20260102T000000Z_s_89abcdef", "s", {"a"}, {1});
  const fs::path other = make_sweep(scratch.path, "20260101T120000Z_other_89abcdef", "other", {"a"}, {1});
  CHECK(find_sweep(scratch.path, "") == second);
  CHECK(find_sweep(scratch.path, "s") == second);
  CHECK(find_sweep(scratch.path, "other") == other);
  CHECK(find_sweep(scratch.path, first.string()) == first);
  CHECK(find_sweep(scratch.path, "20260101T00") == first);
  CHECK(is_sweep_name(scratch.path, "other"));
  CHECK_FALSE(is_sweep_name(scratch.path, "20260101"));
  CHECK_THROWS_WITH(find_sweep(scratch.path, "20260101"), Catch::Contains("beginning of 2 sweeps"));
  CHECK_THROWS_WITH(find_sweep(scratch.path, "othr"), Catch::Contains("Did you mean 'other'"));
  CHECK_THROWS_WITH(find_sweep(scratch.path / "none", ""), Catch::Contains("there is no sweep"));
  CHECK_THROWS_AS(load_sweep_record(scratch.path), Error);
}
