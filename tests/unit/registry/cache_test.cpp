// The stage cache as a store, and why a stage was computed.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/pipeline/cache.h"
#include "registry/query/cache_store.h"
#include "registry/query/explain.h"
#include "tests/support/catch.h"
#include "tests/support/run_fixture.h"
#include "tests/support/scratch.h"

using namespace caddie;
using namespace caddie::registry;
using caddie::test::make_run;
using caddie::test::ScratchFolder;
using caddie::test::SyntheticRun;
namespace fs = std::filesystem;

namespace {

// An entry of 1000 bytes and its entry.json, last used `age` seconds ago.
fs::path make_entry(const fs::path& root, const std::string& stage, const std::string& key, std::time_t age) {
  const fs::path folder = root / stage / key.substr(0, 2) / key;
  fs::create_directories(folder);
  test::write_file(folder / "weights.bin", std::string(1000, 'x'));
  write_json(folder / "entry.json",
             {{"key", key}, {"seconds", 2.0}, {"ingredients", {{"seed", 1}}}, {"written", "2026-01-01T00:00:00Z"}});
  const timespec then{std::time(nullptr) - age, 0};
  const timespec times[2] = {then, then};
  ::utimensat(AT_FDCWD, (folder / "entry.json").c_str(), times, 0);
  return folder;
}

std::string key_of(char c) { return std::string(64, c); }

}  // namespace

TEST_CASE("the least recently used go first, and never what is computed or read") {
  const ScratchFolder scratch;
  const fs::path root = scratch.path();
  const fs::path oldest = make_entry(root, "train", key_of('a'), 4000);
  const fs::path older = make_entry(root, "quantize", key_of('b'), 3000);
  const fs::path computed = make_entry(root, "train", key_of('c'), 2000);
  const fs::path young = make_entry(root, "evaluate", key_of('d'), 10);
  fs::create_directories(root / "locks");
  test::write_file(root / "locks" / key_of('c'), "");
  const int reading = ::open((oldest / "entry.json").c_str(), O_RDONLY);
  const int computing = ::open((root / "locks" / key_of('c')).c_str(), O_RDONLY);
  REQUIRE(::flock(reading, LOCK_SH) == 0);
  REQUIRE(::flock(computing, LOCK_EX) == 0);

  const auto items = cache_items(root);
  REQUIRE(items.size() == 4);
  CHECK(items[0].key == key_of('a'));
  CHECK(items[0].in_use);
  CHECK_FALSE(items[1].in_use);
  CHECK(items[2].in_use);
  CHECK(items[3].seconds == 2.0);

  const Collected dry = collect_cache(root, {.max_bytes = 0, .dry_run = true});
  CHECK(dry.removed.size() == 2);
  CHECK(fs::exists(older));
  const Collected by_age = collect_cache(root, {.older_than_seconds = 100});
  REQUIRE(by_age.removed.size() == 1);
  CHECK(by_age.removed[0].key == key_of('b'));
  CHECK(by_age.kept_in_use.size() == 2);
  CHECK(fs::exists(oldest / "weights.bin"));
  CHECK(fs::exists(computed / "weights.bin"));
  CHECK(fs::exists(young));
  CHECK_FALSE(fs::exists(older));

  ::close(reading);
  ::close(computing);
  const std::int64_t one = items[3].bytes;
  const Collected to_size = collect_cache(root, {.max_bytes = 2 * one + 10});
  CHECK(to_size.removed.size() == 1);  // the oldest of three
  CHECK_FALSE(fs::exists(oldest));
  CHECK(to_size.bytes_after <= 2 * one + 10);
  CHECK(collect_cache(root, {}).removed.empty());
  CHECK(collect_cache(root / "nothing", {.max_bytes = 0}).removed.empty());
}

TEST_CASE("what a process uses stays: a hit locks the entry and renews its time") {
  const ScratchFolder scratch;
  pipeline::StageCache cache(scratch.path());
  const pipeline::StageKey key{"train", {{"seed", 1}}};
  bool hit = false;
  const fs::path folder = cache
                              .get(
                                  key, false,
                                  [](const fs::path& into) {
                                    write_atomic(into / "weights.bin", std::string_view("content"));
                                    return Json{{"loss", 1}};
                                  },
                                  hit)
                              .folder;
  const timespec then{std::time(nullptr) - 5000, 0};
  const timespec times[2] = {then, then};
  ::utimensat(AT_FDCWD, (folder / "entry.json").c_str(), times, 0);
  cache.get(
      key, false, [](const fs::path&) { return Json(); }, hit);
  CHECK(hit);
  const auto items = cache_items(scratch.path());
  REQUIRE(items.size() == 1);
  CHECK(items[0].in_use);
  CHECK(items[0].last_used > std::time(nullptr) - 100);
  CHECK(collect_cache(scratch.path(), {.max_bytes = 0}).removed.empty());
}

TEST_CASE("sizes and ages are read with their units") {
  CHECK(parse_size("123") == 123);
  CHECK(parse_size("10G") == 10'000'000'000);
  CHECK(parse_size("1.5GiB") == 1610612736);
  CHECK(parse_size("2 MB") == 2'000'000);
  CHECK(parse_age("30d") == 30 * 86400.0);
  CHECK(parse_age("90m") == 5400);
  for (const char* bad : {"", "G", "-1G", "10X", "1e30G", "nan"}) CHECK_THROWS_AS(parse_size(bad), Error);
  for (const char* bad : {"", "30", "d", "-1d"}) CHECK_THROWS_AS(parse_age(bad), Error);
}

TEST_CASE("a computed stage is explained by the nearest other result") {
  const ScratchFolder scratch;
  const fs::path runs = scratch.path() / "runs", cache = scratch.path() / "cache";
  make_run(runs, {.name = "far",
                  .change = {{"train", {{"sequence", 1024}, {"schedule", {{"warmdown", 0.5}}}}}},
                  .started = "2026-04-01T10:00:00Z"});
  const std::string near = make_run(runs, {.name = "near", .started = "2026-04-01T11:00:00Z"}).filename();
  const std::string run = make_run(runs, {.name = "run",
                                          .change = {{"train", {{"schedule", {{"warmdown", 0.5}}}}}},
                                          .started = "2026-04-01T12:00:00Z"})
                              .filename();
  make_run(
      runs,
      {.name = "later", .change = {{"train", {{"schedule", {{"warmdown", 0.5}}}}}}, .started = "2026-04-01T13:00:00Z"});
  const StageExplanation why = explain_stage(runs, cache, run, "train", "");
  CHECK_FALSE(why.hit);
  CHECK(why.compared == 2);
  REQUIRE(why.differing.size() == 1);
  CHECK(((why.differing[0].path == "train.schedule.warmdown") || (why.differing[0].path == "train.sequence")));
  CHECK(explain_stage(runs, cache, run, "train", near).differing.at(0).path == "train.schedule.warmdown");
  CHECK(explain_stage(runs, cache, run, "compress", "").other_key ==
        explain_stage(runs, cache, run, "compress", "").key);
  CHECK_THROWS_AS(explain_stage(runs, cache, run, "trian", ""), Error);
  CHECK_THROWS_AS(explain_stage(runs, cache, "nothing", "train", ""), Error);
}
