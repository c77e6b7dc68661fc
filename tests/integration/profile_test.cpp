// run --profile, run --tensorboard: a trace with every stage in it, event files that TensorBoard reads, also on a hit.
#include <algorithm>
#include <set>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

fs::path event_file_of(const Json& result) {
  for (const auto& item : fs::directory_iterator(result.at("directory").get<std::string>()))
    if (item.path().filename().string().starts_with("events.out.tfevents.")) return item.path();
  return {};
}

// What Python's TensorBoard finds in a folder: {"train/loss": [[step, value], ...]}.
constexpr const char* kReader = R"py(
import json, sys
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("no tensorboard"); sys.exit(0)
events = EventAccumulator(sys.argv[1]); events.Reload()
tags = events.Tags()
scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
print(json.dumps({"scalars": scalars, "texts": tags["tensors"]}))
)py";

Json spans(const Json& trace, const std::string& category) {
  Json found = Json::array();
  for (const Json& event : trace.at("traceEvents"))
    if (event.at("ph") == "X" && event.at("cat") == category) found.push_back(event);
  return found;
}

}  // namespace

TEST_CASE("a trace holds stages, steps, waits, batches, chunks and tensors, inside each other") {
  const Workplace place;
  const fs::path file = place.path() / "trace.json";
  const Outcome outcome = place.run({"--profile", file.string(), "--tensorboard"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json trace = read_json(file);
  CHECK(trace.at("otherData").at("time").get<std::string>().find("GPU") != std::string::npos);
  std::set<std::string> names;
  for (const Json& event : trace.at("traceEvents"))
    if (event.at("ph") == "X")
      names.insert(event.at("cat").get<std::string>() + ": " + event.at("name").get<std::string>());
  for (const char* name : {"stage: data",
                           "stage: train",
                           "stage: quantize",
                           "stage: compress",
                           "stage: evaluate",
                           "stage: ttt",
                           "train: step",
                           "train: micro batch",
                           "train: forward",
                           "train: backward",
                           "train: optimizer",
                           "train: average",
                           "train: wait for the loader",
                           "data: make a slice",
                           "evaluate: batch",
                           "evaluate: val_bpb",
                           "ttt: score a chunk",
                           "ttt: adapt to a chunk",
                           "ttt: gradients",
                           "quantize: embedding.weight",
                           "quantize: generate calibration text",
                           "compress: compress with brotli"}) {
    CAPTURE(name);
    CHECK(names.contains(name));
  }
  double start = 0, end = 0;
  for (const Json& stage : spans(trace, "stage"))
    if (stage.at("name") == "train") {
      start = stage.at("ts");
      end = start + stage.at("dur").get<double>();
    }
  int steps = 0;
  for (const Json& span : spans(trace, "train")) {
    CHECK(span.at("ts").get<double>() >= start);
    CHECK(span.at("ts").get<double>() + span.at("dur").get<double>() <= end + 0.001);
    steps += span.at("name") == "step" ? 1 : 0;
  }
  CHECK(steps == 24);

  // The second run computes nothing, and has the same curves.
  const Outcome again = place.run({"--tensorboard"});
  for (const Outcome* one : {&outcome, &again}) {
    const fs::path events = event_file_of(result_of(*one));
    REQUIRE(fs::exists(events));
    const Outcome read = Process({"python3", "-c", kReader, events.parent_path().string()}, {}).wait(120);
    if (read.out.starts_with("no tensorboard")) {
      WARN("skipped: this python3 has no package tensorboard");
      continue;
    }
    INFO(read.err);
    REQUIRE(read.exit_code == 0);
    const Json found = result_of(read);
    CHECK(found.at("scalars").at("train/loss").size() == 24);
    CHECK(found.at("scalars").at("train/loss").back().at(0) == 24);
    CHECK(found.at("scalars").at("score/ttt_bpb").at(0).at(1).get<double>() ==
          Approx(result_of(*one).at("metrics").at("ttt_bpb").get<double>()).epsilon(1e-6));
    CHECK(found.at("texts") == Json{"manifest"});
  }
}

TEST_CASE("a trace that cannot be written is refused before the run") {
  const Workplace place;
  const Outcome outcome = place.run({"--profile", (place.path() / "missing" / "trace.json").string()});
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.err.find("missing") != std::string::npos);
  CHECK(place.run_count() == 0);
}
