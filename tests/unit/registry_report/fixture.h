// Run folders and a sweep with numbers made up by formulas, as the pipeline would have written them: enough for a page.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/base/json.h"

namespace caddie::report_tests {

struct Scratch {
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "caddie_report_XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path runs() const { return path / "runs"; }
  std::filesystem::path path;
};

struct FakeRun {
  std::string id, name;
  int seed = 1;
  double effect = 0;                      // added to every score, in bits per byte
  std::string training = "same";          // runs with one word share a training
  std::string status = "ok", error = {};  // "failed" has no result
  int steps = 200, layers = 4;
  std::int64_t bytes = 1500000, val_bytes = 40000;
};

inline Json fake_score(double bits, std::int64_t bytes) {
  const double nats = bits * static_cast<double>(bytes) * std::log(2.0);
  const std::int64_t tokens = bytes / 4;
  return {{"nats", nats},
          {"tokens", tokens},
          {"bytes", bytes},
          {"loss", nats / static_cast<double>(tokens)},
          {"bits_per_byte", bits}};
}

inline Json fake_profile(double bits) {
  Json position = {{"from", Json::array()}, {"nats", Json::array()}, {"tokens", Json::array()}};
  Json bytes = {{"length", Json::array()}, {"nats", Json::array()}, {"tokens", Json::array()}};
  for (int from = 0; from < 512; from = std::max(from + 1, from * 6 / 5)) {
    position["from"].push_back(from);
    position["tokens"].push_back(1000);
    position["nats"].push_back(1000 * (2.0 + bits + 3.0 / (1 + from)));
  }
  for (int length = 0; length <= 12; ++length) {
    bytes["length"].push_back(length);
    bytes["tokens"].push_back(100 * (13 - length));
    bytes["nats"].push_back(100 * (13 - length) * (bits + 0.4 * length));
  }
  return {{"position", position}, {"bytes", bytes}};
}

inline std::string fake_metrics(const FakeRun& run) {
  std::string lines;
  for (int step = 1; step <= run.steps; ++step) {
    const double wave = 0.05 * std::sin(step * 12.9898 + run.seed);
    lines += canonical({{"step", step},
                        {"train_loss", 3.2 + 4.5 * std::exp(-step / 25.0) + wave + run.effect},
                        {"rate_factor", 1 - 0.8 * step / run.steps},
                        {"elapsed_seconds", 0.1 * step},
                        {"tokens_per_second", 20000 + 500 * std::cos(step)}}) +
             "\n";
  }
  return lines;
}

inline void fake_tensors(const FakeRun& run, Json& errors, Json& sizes) {
  const auto tensor = [&](const std::string& name, const char* quantizer, double error, int elements) {
    errors.push_back({{"name", name}, {"quantizer", quantizer}, {"bits", 5}, {"relative_error", error}});
    sizes.push_back({{"name", name},
                     {"role", "matrix"},
                     {"shape", {elements / 64, 64}},
                     {"stored", "int5"},
                     {"raw_bytes", elements},
                     {"entropy_bytes", elements * 0.55}});
  };
  tensor("embedding.weight", "int8", 0.004, 200000);
  for (int layer = 0; layer < run.layers; ++layer) {
    const std::string block = "blocks." + std::to_string(layer) + ".";
    tensor(block + "attention.query.weight", "gptq", 0.05 + 0.004 * layer + std::abs(run.effect), 65536);
    tensor(block + "mlp.up.weight", "gptq", 0.08 + 0.002 * layer + std::abs(run.effect), 131072);
  }
}

inline void write_fake_run(const std::filesystem::path& runs, const FakeRun& run) {
  const auto folder = runs / run.id;
  make_directories(folder / "stages");
  write_json(folder / "resolved.json", {{"name", run.name},
                                        {"seed", run.seed},
                                        {"model", {{"layers", run.layers}}},
                                        {"compress", {{"use", "brotli"}}},
                                        {"effect", run.effect}});
  write_atomic(folder / "overrides.txt", "compress.use=brotli\nseed=" + std::to_string(run.seed) + "\n");
  write_json(folder / "environment.json", {{"cpu", "a <CPU> & more"}, {"libtorch", "2.13"}});
  write_json(folder / "plugins.json", {{"optimizer muon", {{"version", "1"}, {"sha256", "abc"}}}});
  Json status = {{"status", run.status},
                 {"started", "2026-11-24T10:00:00Z"},
                 {"updated", "2026-11-24T10:01:00Z"},
                 {"stage", nullptr}};
  if (!run.error.empty()) status["error"] = run.error;
  write_json(folder / "status.json", status);
  if (run.status != "ok") return;
  write_atomic(folder / "metrics.jsonl", fake_metrics(run));

  const double noise = 0.0007 * std::sin(run.seed * 7.1 + run.effect * 100);
  const double chain[] = {2.06, 2.02, 2.03, 2.00, 1.985};
  const char* names[] = {"last_step_bpb", "val_bpb", "roundtrip_bpb", "sliding_bpb", "ttt_bpb"};
  Json metrics = {{"train_loss", 3.2 + run.effect}, {"val_tokens", run.val_bytes / 4}, {"val_bytes", run.val_bytes}},
       scores = Json::object();
  for (int i = 0; i < 5; ++i) {
    const double bits = chain[i] + run.effect + noise;
    metrics[names[i]] = bits;
    if (i < 4) scores[names[i]] = {{"score", fake_score(bits, run.val_bytes)}};
    if (i < 3) scores[names[i]]["profile"] = fake_profile(bits);
  }
  Json errors = Json::array(), sizes = Json::array();
  fake_tensors(run, errors, sizes);
  const Json seconds = {{"data", 1.5},     {"train", 60.0 + run.seed}, {"quantize", 4.0},
                        {"compress", 2.5}, {"evaluate", 9.0},          {"ttt", 14.0}};
  for (const auto& [stage, took] : seconds.items()) {
    Json outputs = Json::object();
    std::string key = stage + run.training + std::to_string(run.seed);
    if (stage != "train" && stage != "data") key += std::to_string(run.effect);
    if (stage == "train") outputs = {{"train_loss", 3.2}};
    if (stage == "quantize") outputs = {{"tensors", errors}};
    if (stage == "compress") outputs = {{"tensors", sizes}};
    if (stage == "evaluate") outputs = scores;
    if (stage == "ttt") outputs = {{"score", fake_score(chain[4] + run.effect + noise, run.val_bytes)}};
    write_json(folder / "stages" / (stage + ".json"), {{"stage", stage},
                                                       {"key", key},
                                                       {"cached", false},
                                                       {"seconds", took},
                                                       {"computed_seconds", took},
                                                       {"outputs", outputs}});
  }
  const Json result = {{"run", run.id},
                       {"directory", folder.string()},
                       {"status", "ok"},
                       {"metrics", metrics},
                       {"seconds", seconds},
                       {"stages", Json::array()},
                       {"artifact",
                        {{"path", "x"},
                         {"bytes", run.bytes},
                         {"code_bytes", 60000},
                         {"total_bytes", run.bytes + 60000},
                         {"cap", 2000000}}},
                       {"train",
                        {{"steps", run.steps},
                         {"step_ms_median", 100.0},
                         {"tokens_per_second", 20000.0},
                         {"peak_memory_bytes", 1000000}}}};
  write_json(folder / "result.json", {{"result", result}, {"more", {{"verdicts", Json::array()}}}});
}

// A sweep; variants behind the first `sharing` train on their own. With `failure` the last job failed.
inline void write_fake_sweep(const std::filesystem::path& runs, const std::string& name,
                             const std::vector<std::string>& variants, int seeds, int steps, std::size_t sharing,
                             bool failure = true) {
  const std::string id = "20261124T100000Z_" + name + "_0123abcd";
  const auto folder = runs / "sweeps" / id;
  make_directories(folder / "state");
  Json jobs = Json::array();
  for (std::size_t v = 0; v < variants.size(); ++v)
    for (int seed = 1; seed <= seeds; ++seed) {
      FakeRun run;
      run.id = "20261124T1000" + std::to_string(10 + v) + "Z_" + name + "_" + std::to_string(seed);
      run.name = variants[v];
      run.seed = seed;
      run.steps = steps;
      run.layers = 10;
      run.effect = v == 0 ? 0 : 0.004 * (static_cast<double>(v % 7) - 3.0) + 0.0005 * seed;
      run.training = v >= sharing ? variants[v] : "same";
      run.bytes = 1500000 + 30000 * static_cast<std::int64_t>(v * 5 % 7) - 9000 * seed;
      const bool fails = failure && v + 1 == variants.size() && seed == seeds;
      if (fails) {
        run.status = "failed";
        run.error = "stage train: step 17, micro batch 2: the loss is nan <script>alert(1)</script>";
      }
      write_fake_run(runs, run);
      const std::string file = "v" + std::to_string(v) + "_s" + std::to_string(seed);
      write_json(runs / run.id / "sweep.json", {{"sweep", id}, {"job", file}, {"variant", variants[v]}});
      jobs.push_back(
          {{"job", file}, {"name", variants[v]}, {"seed", seed}, {"overrides", Json::array()}, {"hash", file}});
      const Json attempt = {
          {"run", run.id}, {"exit_code", fails ? 1 : 0}, {"reason", run.error}, {"started", ""}, {"seconds", 1.0}};
      write_json(
          folder / "state" / (file + ".json"),
          {{"job", file}, {"status", fails ? "failed" : "ok"}, {"run", run.id}, {"attempts", Json::array({attempt})}});
    }
  write_json(folder / "plan.json", {{"sweep", name}, {"jobs", jobs}});
}

}  // namespace caddie::report_tests
