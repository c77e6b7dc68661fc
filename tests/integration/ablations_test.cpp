// Every manifest under experiments/ablations runs through all of its stages, shrunk to a size that takes a second or
// two. What is shrunk is width, text, steps and windows; the options that make the ablation stay.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>

#include "core/config/manifest.h"
#include "core/host/catalogue.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(CADDIE_SOURCE_DIR) / "experiments" / "ablations";

std::vector<fs::path> manifests() {
  std::vector<fs::path> files;
  for (const auto& item : fs::recursive_directory_iterator(kFolder))
    if (item.path().extension() == ".yaml") files.push_back(item.path());
  std::sort(files.begin(), files.end());
  return files;
}

const Catalogue& catalogue() {
  static const Catalogue all({CADDIE_PLUGIN_DIR});
  return all;
}

bool given(const Json& section, const char* key) {
  return section.is_object() && section.contains(key) && !section[key].is_null();
}

// The overrides that make a run tiny. A section that a manifest took away stays away.
std::vector<std::string> tiny(const Json& resolved) {
  std::vector<std::string> changes = {"device=cpu",
                                      "threads=1",
                                      "data.train=null",
                                      "data.validation=null",
                                      "data.tokenizer=null",
                                      "data.text=" CADDIE_SOURCE_DIR "/tests/integration/text.txt",
                                      "data.vocabulary=320",
                                      "data.holdout=0.15",
                                      "model.vocabulary=null",
                                      "train.sequence=32",
                                      "train.tokens_per_step=128",
                                      "train.micro_batches=2",
                                      "train.warmup_steps=1",
                                      "train.stop={steps: 6}",
                                      "train.schedule.by=steps",
                                      "train.checkpoint={seconds: 0}",
                                      "budgets={artifact_bytes: 16000000}"};
  const auto add = [&](const std::string& change) { changes.push_back(change); };
  const Json &model = resolved.at("model"), &train = resolved.at("train");
  // Heads of 32 channels hold what partial rotations and gates of published sizes look at.
  const int heads = model.value("heads", 1) == model.value("kv_heads", 1) ? 1 : 2;
  add("model.width=" + std::to_string(32 * heads));
  add("model.heads=" + std::to_string(heads));
  add("model.kv_heads=1");
  add("model.mlp_ratio=2");
  if (given(train.at("average"), "swa")) add("train.average.swa={every: 1, below: 0.9}");
  if (given(train.at("average"), "latest")) add("train.average.latest.every=1");
  std::int64_t shorter = 8;
  for (std::size_t i = 0; i < train.at("sequence_schedule").size(); ++i, shorter *= 2)
    add("train.sequence_schedule[" + std::to_string(i) + "].sequence=" + std::to_string(shorter));
  if (!resolved.at("quantize").is_null()) {
    add("quantize.calibrate.sequences=4");
    add("quantize.calibrate.length=32");
    add("quantize.calibrate.batch=2");
    add("quantize.keep_float_elements=600");
  }
  if (!resolved.at("evaluate").is_null()) {
    add("evaluate.tokens=512");
    if (given(resolved.at("evaluate"), "sliding")) add("evaluate.sliding.stride=16");
  }
  if (!resolved.at("ttt").is_null()) {
    add("ttt.chunk=256");
    if (resolved.at("ttt").contains("epochs")) add("ttt.epochs=1");
  }
  return changes;
}

struct Ran {
  std::string name;
  Outcome outcome;
  double seconds = 0;
};

struct Wanted {
  fs::path file;
  std::vector<std::string> changes;
};

Ran run_one(const Workplace& place, const Wanted& wanted) {
  Ran ran{wanted.file.stem().string(), {}, 0};
  std::vector<std::string> arguments = {"run", wanted.file.string()};
  arguments.insert(arguments.end(), wanted.changes.begin(), wanted.changes.end());
  const auto start = std::chrono::steady_clock::now();
  ran.outcome = place.caddie(arguments);
  ran.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ran;
}

}  // namespace

TEST_CASE("every ablation says in its first line what it claims") {
  REQUIRE(manifests().size() > 1);
  for (const fs::path& file : manifests()) {
    INFO(file.string());
    std::string line;
    std::getline(std::ifstream(file) >> std::ws, line);
    CHECK(line.starts_with("# "));
    CHECK(line.size() > 20);
  }
}

TEST_CASE("every ablation runs through all of its stages") {
  const Workplace place;  // one cache: the tokenizer is trained once
  // CADDIE_ABLATION=TEXT narrows to the files whose name holds it.
  const char* chosen = std::getenv("CADDIE_ABLATION");
  std::vector<Wanted> wanted;
  for (const fs::path& file : manifests())
    if (!chosen || file.stem().string().find(chosen) != std::string::npos)
      wanted.push_back({file, tiny(load_manifest(file, {}, catalogue()).resolved)});
  REQUIRE_FALSE(wanted.empty());

  std::vector<Ran> runs = {run_one(place, wanted.front())};
  std::atomic<std::size_t> next = 1;
  std::mutex lock;
  const auto work = [&] {
    for (std::size_t i = next++; i < wanted.size(); i = next++) {
      Ran ran = run_one(place, wanted[i]);
      const std::lock_guard guard(lock);
      runs.push_back(std::move(ran));
    }
  };
  auto other = std::async(std::launch::async, work);
  work();
  other.get();

  double total = 0, slowest = 0;
  for (const Ran& ran : runs) {
    INFO(ran.name << "\n" << ran.outcome.err);
    CHECK(ran.outcome.exit_code == 0);
    total += ran.seconds;
    slowest = std::max(slowest, ran.seconds);
    if (ran.outcome.exit_code != 0) continue;
    const Json result = result_of(ran.outcome);
    CHECK(result.at("status") == "ok");
    CHECK(result.at("train").at("steps") == 6);
    for (const auto& [name, value] : result.at("metrics").items()) {
      INFO(name);
      CHECK(value.is_number());
      CHECK((name == "val_tokens" || name == "val_bytes" || value.get<double>() < 60));
    }
  }
  // Time of the processors: that of the clock depends on who else uses them.
  rusage used{};
  ::getrusage(RUSAGE_CHILDREN, &used);
  const double each = (static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec)) / static_cast<double>(runs.size());
  std::printf("%zu ablations, %.1f s of a processor each; by the clock %.1f s each, the slowest %.1f s\n", runs.size(),
              each, total / static_cast<double>(runs.size()), slowest);
  CHECK(each < 3);
}
