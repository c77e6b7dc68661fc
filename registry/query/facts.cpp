#include "registry/query/facts.h"

#include <algorithm>

#include "caddie/error.h"

namespace caddie::registry {
namespace {

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : ",") + text;
  return all;
}

// "val_bpb" -> "val_nats": nats a token of the same score.
std::string nats_name(const std::string& metric) {
  return metric.ends_with("_bpb") ? metric.substr(0, metric.size() - 4) + "_nats" : metric + "_nats";
}

}  // namespace

std::vector<std::pair<std::string, Value>> facts_of(const RunRecord& run) {
  std::vector<std::pair<std::string, Value>> facts;
  const auto add = [&](const std::string& key, const Json& value) {
    if (const OptionalValue found = value_of(value)) facts.emplace_back(key, *found);
  };
  const auto add_text = [&](const char* key, const std::string& text) {
    if (!text.empty()) facts.emplace_back(key, Value::of(text));
  };
  const auto add_all = [&](const Json& value, const std::string& prefix) {
    for (const auto& [path, leaf] : flatten(value, prefix)) add(path, leaf);
  };

  add_text("run", run.id);
  add_text("name", run.name);
  add("seed", run.seed);
  add_text("status", run.shown_status());
  add_text("stage", run.stage);
  add_text("error", run.error);
  add_text("started", run.started);
  add_text("updated", run.updated);
  add_text("host", run.host);
  add_text("group", run.group());
  add_text("tags", joined(run.tags));
  if (!run.overrides.empty()) add_text("overrides", joined(run.overrides));
  add("seconds", run.seconds);
  if (run.sweep.is_object())
    for (const char* key : {"sweep", "variant", "job"}) add(key, run.sweep.value(key, Json()));

  for (const auto& [metric, value] : run.metrics.items()) add(metric, value);
  for (const auto& [metric, score] : run.scores) add(nats_name(metric), score.loss);
  if (run.result.is_object()) {
    for (const char* key : {"bytes", "code_bytes", "total_bytes"})
      if (run.result.contains("artifact")) add(concat("artifact.", key), run.result["artifact"].value(key, Json()));
    add_all(run.result.value("train", Json::object()), "result.train");
  }
  for (const auto& [stage, facts_of_stage] : run.stages.items()) {
    add("seconds." + stage, facts_of_stage.value("computed_seconds", Json()));
    if (facts_of_stage.contains("cached")) add("cached." + stage, facts_of_stage["cached"]);
  }

  Json manifest = run.resolved;
  for (const char* key : {"name", "seed", "caddie"}) manifest.erase(key);
  add_all(manifest, "");
  if (run.environment.is_object()) add_all(run.environment, "environment");

  std::sort(facts.begin(), facts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  facts.erase(std::unique(facts.begin(), facts.end(), [](const auto& a, const auto& b) { return a.first == b.first; }),
              facts.end());
  return facts;
}

Json document_of(const RunRecord& run) {
  Json document = {{"run", run.id},          {"directory", run.folder.string()}, {"name", run.name},
                   {"seed", run.seed},       {"status", run.shown_status()},     {"started", run.started},
                   {"updated", run.updated}, {"metrics", run.metrics},           {"tags", run.tags}};
  if (!run.stage.empty()) document["stage"] = run.stage;
  if (!run.error.empty()) document["error"] = run.error;
  if (!run.sweep.is_null()) document["sweep"] = run.sweep;
  if (!run.result.is_null()) document["result"] = run.result;
  return document;
}

const std::vector<std::string>& standing_keys() {
  static const std::vector<std::string> keys = {"run",
                                                "name",
                                                "seed",
                                                "status",
                                                "stage",
                                                "error",
                                                "started",
                                                "updated",
                                                "seconds",
                                                "tags",
                                                "sweep",
                                                "variant",
                                                "job",
                                                "overrides",
                                                "host",
                                                "group",
                                                "train_loss",
                                                "last_step_bpb",
                                                "val_bpb",
                                                "roundtrip_bpb",
                                                "sliding_bpb",
                                                "ttt_bpb",
                                                "last_step_nats",
                                                "val_nats",
                                                "roundtrip_nats",
                                                "sliding_nats",
                                                "ttt_nats",
                                                "val_tokens",
                                                "val_bytes",
                                                "artifact.bytes",
                                                "artifact.code_bytes",
                                                "artifact.total_bytes",
                                                "seconds.data",
                                                "seconds.train",
                                                "seconds.quantize",
                                                "seconds.compress",
                                                "seconds.evaluate",
                                                "seconds.ttt",
                                                "result.train.steps",
                                                "result.train.step_ms_median",
                                                "result.train.tokens_per_second"};
  return keys;
}

}  // namespace caddie::registry
