// Packing: what is refused, all of it at once, and what the folder holds. Scores are replayed in tests/integration.
#include "registry/pack/pack.h"

#include <cmath>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "registry/pack/verify.h"
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

// Without test-time training there is no ledger to keep.
SyntheticRun seed(std::int64_t number) {
  SyntheticRun run;
  run.seed = number;
  run.bpb = 1.2 + 0.01 * static_cast<double>(number);
  run.change = {{"ttt", nullptr}};
  return run;
}

RunRecord made(const ScratchFolder& scratch, const SyntheticRun& run) {
  const fs::path folder = make_run(scratch.path() / "runs", run);
  test::write_file(folder / "artifact" / "model.caddie", "not a model, but bytes");
  return load_run(folder);
}

std::vector<RunRecord> three(const ScratchFolder& scratch) {
  return {made(scratch, seed(3)), made(scratch, seed(1)), made(scratch, seed(2))};
}

struct Refused {
  ErrorKind kind;
  std::string text;
};
Refused refused(const std::vector<RunRecord>& runs, const PackOptions& options) {
  try {
    pack_runs(runs, options);
  } catch (const Error& error) {
    CHECK_FALSE(fs::exists(options.output));
    return {error.kind(), error.what()};
  }
  FAIL("it was packed");
  return {};
}

PackOptions into(const ScratchFolder& scratch, std::vector<std::string> allow = {"source"}) {
  PackOptions options;
  options.output = scratch.path() / "out";
  options.allow = std::move(allow);
  return options;
}

}  // namespace

TEST_CASE("three seeds of one manifest become a folder whose figures belong together") {
  const ScratchFolder scratch;
  const Json submission = pack_runs(three(scratch), into(scratch));
  CHECK(submission.at("metric") == "sliding_bpb");
  CHECK(submission.at("seeds") == Json({1, 2, 3}));
  CHECK(submission.at("val_bpb").get<double>() == Approx(1.2));
  CHECK(submission.at("val_loss").get<double>() == Approx(1.2 * std::log(2.0) * 3));
  const fs::path out = scratch.path() / "out";
  for (const char* name : {"README.md", "submission.json", "manifest.yaml", "files.json", "seed_1/model.caddie",
                           "seed_2/train.log", "seed_3/facts.json", "seed_3/environment.json"})
    CHECK(fs::exists(out / name));
  CHECK_FALSE(fs::exists(out / "seed_1/ledger.jsonl"));
  const Json files = read_json(out / "files.json");
  for (const auto& [name, facts] : files.items())
    CHECK(sha256_file(out / name) == facts.at("sha256").get<std::string>());
  CHECK_THAT(read_text(out / "README.md"),
             Catch::Contains("1.20000 ± 0.01000 bits per byte") && Catch::Contains("--seeds 1,2,3"));
  CHECK_THAT(read_text(out / "seed_1/train.log"),
             Catch::Contains("step:1/20000 train_loss:4.0000") && Catch::Contains("final_sliding val_loss:"));
  CHECK_THROWS_AS(pack_runs(three(scratch), into(scratch)), Error);  // it is there already
}

TEST_CASE("everything that speaks against packing is said at once, the gravest decides") {
  const ScratchFolder scratch;
  auto runs = three(scratch);
  SyntheticRun other = seed(2);
  other.change["train"] = {{"schedule", {{"warmdown", 0.5}}}};
  other.id = "other";
  runs[2] = made(scratch, other);
  const Refused manifests = refused(runs, into(scratch));
  CHECK(manifests.kind == ErrorKind::usage);
  CHECK_THAT(manifests.text, Catch::Contains("train.schedule.warmdown (0.35 | 0.5)"));

  runs = three(scratch);
  runs[1].status = "budget";
  runs[1].more["verdicts"] = {{{"what", "artifact bytes"}, {"used", 16000001.0}, {"cap", 16000000.0}, {"kept", false}}};
  runs.pop_back();
  const Refused budget = refused(runs, into(scratch, {}));
  CHECK(budget.kind == ErrorKind::budget);
  CHECK_THAT(budget.text, Catch::Contains("seed 1 is over its budget of artifact bytes") &&
                              Catch::Contains("--allow seeds") && Catch::Contains("--allow source"));

  runs = three(scratch);
  runs[0].scores["sliding_bpb"].bits_per_byte -= 0.01;  // a score that its loss does not give
  CHECK(refused(runs, into(scratch)).kind == ErrorKind::legality);

  SyntheticRun adapted = seed(1);
  adapted.change = Json::object();
  adapted.id = "adapted";
  CHECK_THAT(refused({made(scratch, adapted)}, into(scratch, {"source", "seeds"})).text, Catch::Contains("ledger"));

  runs = three(scratch);
  runs[0].scores["sliding_bpb"].limited_to = 1000;
  CHECK_THAT(refused(runs, into(scratch)).text, Catch::Contains("--allow limited"));
  CHECK(refused({runs[1], runs[1], runs[2]}, into(scratch)).text.find("seed 1 is there twice") != std::string::npos);
  CHECK_THAT(refused(runs, into(scratch, {"budget"})).text, Catch::Contains("accepted: seeds"));
  CHECK(refused({}, into(scratch)).kind == ErrorKind::usage);
  SyntheticRun failed = seed(4);
  failed.status = "failed";
  CHECK_THAT(refused({made(scratch, failed)}, into(scratch)).text, Catch::Contains("has no result, it is failed"));
}

TEST_CASE("verify counts what is on the disk") {
  const ScratchFolder scratch;
  pack_runs(three(scratch), into(scratch));
  VerifyOptions options;
  options.score = false;
  options.overrides = {"train.stop.steps=1"};
  CHECK_THROWS_AS(verify_submission(scratch.path() / "out", options, nullptr), Error);
  CHECK_THROWS_AS(verify_submission(scratch.path(), options, nullptr), Error);
}
