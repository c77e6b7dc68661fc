// Synthetic run folders, file by file as a run writes them: for tests of what reads runs. No run takes place.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/base/json.h"

namespace caddie::test {

struct SyntheticRun {
  std::string name = "demo";
  std::int64_t seed = 1;
  std::string status = "ok";
  double bpb = 1.2;  // of the averaged weights; the later scores lie near it
  std::int64_t tokens = 1000, bytes = 3000;
  std::int64_t artifact_bytes = 15'000'000, code_bytes = 100'000;
  double train_seconds = 10, evaluate_seconds = 2;
  std::string text = "a";        // stands for the validation text
  Json change = Json::object();  // merged into the resolved manifest
  Json sweep = nullptr;          // sweep.json
  std::string id = {};           // empty: made of `started`, name and seed
  std::string started = "2026-04-01T10:00:00Z";
};

inline Json synthetic_manifest(const SyntheticRun& run) {
  Json manifest = Json::parse(R"({
    "caddie": 1, "device": "cpu", "precision": "float32", "threads": 0,
    "data": {"train": ["train.bin"], "validation": ["val.bin"], "tokenizer": "sp.model", "vocabulary": null},
    "model": {"use": "unet_gpt", "layers": 10, "width": 512, "heads": 8, "kv_heads": 4, "mlp_ratio": 3.5, "xsa_last": 4,
              "logit_cap": 30.0, "query_gain": 1.5, "rope_base": 10000.0, "skips": true, "slope": 0.5},
    "train": {"sequence": 2048, "tokens_per_step": 786432, "micro_batches": 8, "stop": {"seconds": 600, "steps": 20000},
              "checkpoint": {"seconds": 60}, "schedule": {"shape": "linear", "warmdown": 0.35},
              "fake_quant": [{"match": "attention", "bits": 6}, {"match": "mlp", "bits": 5}],
              "average": {"ema": 0.997, "swa": {"every": 5, "below": 0.5}, "blend": 0.5}},
    "optimizers": [{"match": "matrix", "use": "muon", "learning_rate": 0.025, "weight_decay": 0.04},
                   {"match": "embedding", "use": "adamw", "learning_rate": 0.035},
                   {"match": "vector", "use": "adamw", "learning_rate": 0.025}],
    "quantize": {"calibrate": {"source": "self", "sequences": 16, "length": 512},
                 "tensors": [{"match": "matrix", "use": "gptq", "bits": 5}, {"match": "embedding", "use": "int8", "bits": 8}]},
    "compress": {"use": "brotli", "quality": 11},
    "evaluate": {"flat": {}, "sliding": {"stride": 64}, "tokens": null},
    "ttt": {"use": "sgd", "chunk": 131072, "epochs": 20, "learning_rate": 0.003},
    "budgets": {"artifact_bytes": 16000000, "train_seconds": 600, "evaluate_seconds": 600}})");
  manifest["name"] = run.name;
  manifest["seed"] = run.seed;
  manifest.merge_patch(run.change);
  for (const char* section : {"quantize", "compress", "evaluate", "ttt"})
    if (!manifest.contains(section)) manifest[section] = nullptr;  // taken away by the change
  return manifest;
}

inline void write_file(const std::filesystem::path& path, const std::string& text) { std::ofstream(path) << text; }

// The folder. Plain writes without fsync: ten thousand of them should take seconds.
inline std::filesystem::path make_run(const std::filesystem::path& runs, const SyntheticRun& run) {
  std::string stamp;
  for (const char c : run.started)
    if (c != '-' && c != ':') stamp += c;
  const std::filesystem::path folder =
      runs / (run.id.empty() ? stamp + "_" + run.name + "_s" + std::to_string(run.seed) : run.id);
  std::filesystem::create_directories(folder / "stages");
  std::filesystem::create_directories(folder / "artifact");
  const auto put = [&](const char* name, const Json& value) { write_file(folder / name, value.dump(2) + "\n"); };
  Json manifest = synthetic_manifest(run);
  put("resolved.json", manifest);
  write_file(folder / "manifest.yaml", manifest.dump() + "\n");
  write_file(folder / "overrides.txt", "");
  put("plugins.json", {{"optimizer muon", {{"version", "1.0"}, {"sha256", "aa"}, {"file", folder.string()}}}});
  put("environment.json", {{"cpu", "synthetic"}, {"device", "cpu"}, {"threads", 1}, {"git_commit", "0123"}});
  if (!run.sweep.is_null()) put("sweep.json", run.sweep);
  write_file(folder / "log.txt", run.started + " data from the cache\n");
  write_file(folder / "metrics.jsonl", R"({"step":1,"train_loss":4.0,"elapsed_seconds":0.5})"
                                       "\n");
  const bool done = run.status == "ok" || run.status == "budget";
  const auto score = [&](double bpb) {
    const double nats = bpb * std::log(2.0) * static_cast<double>(run.bytes);
    return Json{{"score",
                 {{"nats", nats},
                  {"tokens", run.tokens},
                  {"bytes", run.bytes},
                  {"bits_per_byte", bpb},
                  {"loss", nats / static_cast<double>(run.tokens)}}}};
  };
  Json stages = Json::object();
  const auto stage = [&](const char* name, double seconds, const Json& outputs, const Json& ingredients) {
    const std::string key = name + std::to_string(std::hash<std::string>{}(ingredients.dump()));
    stages[name] = {{"stage", name},
                    {"key", key},
                    {"cached", false},
                    {"seconds", seconds},
                    {"computed_seconds", seconds},
                    {"ingredients", ingredients},
                    {"outputs", outputs}};
    put((std::string("stages/") + name + ".json").c_str(), stages[name]);
  };
  const Json identity = {{"validation", {{"text_sha256", run.text}, {"bytes", run.bytes}, {"tokens", run.tokens}}},
                         {"tokenizer", {{"sha256", "tok"}}}};
  stage("data", 0.1, {{"identity", identity}}, {{"data", manifest["data"]}});
  if (run.status != "running")
    stage("train", run.train_seconds, {{"train_loss", 3.0}, {"steps", 100}},
          {{"train", manifest["train"]},
           {"optimizers", manifest["optimizers"]},
           {"seed", run.seed},
           {"model", manifest["model"]}});
  if (done) {
    stage("quantize", 1, {{"decoded_hash", "d"}}, {{"quantize", manifest["quantize"]}, {"seed", run.seed}});
    stage("compress", 1, {{"bytes", run.artifact_bytes}}, {{"compress", manifest["compress"]}});
    stage(
        "evaluate", run.evaluate_seconds,
        {{"val_bpb", score(run.bpb)}, {"roundtrip_bpb", score(run.bpb + 0.01)}, {"sliding_bpb", score(run.bpb - 0.02)}},
        {{"evaluate", manifest["evaluate"]}});
    const bool adapts = !manifest["ttt"].is_null();
    if (adapts) stage("ttt", run.evaluate_seconds, score(run.bpb - 0.03), {{"ttt", manifest["ttt"]}});
    Json seconds = Json::object();
    for (const auto& [name, facts] : stages.items()) seconds[name] = facts["computed_seconds"];
    Json metrics = {{"train_loss", 3.0},
                    {"val_bpb", run.bpb},
                    {"roundtrip_bpb", run.bpb + 0.01},
                    {"sliding_bpb", run.bpb - 0.02},
                    {"ttt_bpb", run.bpb - 0.03},
                    {"val_tokens", run.tokens},
                    {"val_bytes", run.bytes}};
    if (!adapts) metrics.erase("ttt_bpb");
    put("result.json", {{"result",
                         {{"run", folder.filename().string()},
                          {"directory", folder.string()},
                          {"status", run.status},
                          {"metrics", metrics},
                          {"seconds", seconds},
                          {"artifact",
                           {{"bytes", run.artifact_bytes},
                            {"code_bytes", run.code_bytes},
                            {"cap", 16000000},
                            {"path", (folder / "artifact/model.caddie").string()},
                            {"total_bytes", run.artifact_bytes + run.code_bytes}}},
                          {"train", {{"steps", 100}, {"step_ms_median", 90.5}, {"tokens_per_second", 1e6}}}}},
                        {"more", {{"verdicts", Json::array()}, {"identity", identity}}}});
  }
  Json status = {{"status", run.status},
                 {"started", run.started},
                 {"updated", run.started},
                 {"process", 1},
                 {"stage", run.status == "running" ? Json("train") : Json()}};
  if (run.status == "failed") status["error"] = "stage quantize: it did not work";
  put("status.json", status);
  return folder;
}

}  // namespace caddie::test
