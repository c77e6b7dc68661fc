#include "registry/record/run_record.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/pipeline/run_folder.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

Json optional_json(const fs::path& path) { return fs::exists(path) ? read_json(path) : Json(); }

std::string text_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  if (!fs::exists(path)) return lines;
  std::istringstream in(read_text(path));
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

void read_stages(RunRecord& run) {
  run.stages = Json::object();
  std::error_code code;
  for (const auto& item : fs::directory_iterator(run.folder / "stages", code))
    if (item.path().extension() == ".json") run.stages[item.path().stem().string()] = read_json(item.path());
}

void take_score(RunRecord& run, const std::string& metric, const Json& outputs) {
  if (!outputs.is_object() || !outputs.contains("score")) return;
  const Json& score = outputs.at("score");
  run.scores[metric] = {score.at("nats").get<double>(),          score.at("tokens").get<std::int64_t>(),
                        score.at("bytes").get<std::int64_t>(),   score.at("loss").get<double>(),
                        score.at("bits_per_byte").get<double>(), score.value("limited_to", std::int64_t{0})};
}

void read_scores(RunRecord& run) {
  if (run.stages.contains("evaluate"))
    for (const auto& [metric, outputs] : run.stages["evaluate"].at("outputs").items()) take_score(run, metric, outputs);
  if (run.stages.contains("ttt")) take_score(run, "ttt_bpb", run.stages["ttt"].at("outputs"));
}

// A run that did not finish has the metrics of the stages that are done.
Json metrics_of_stages(const RunRecord& run) {
  Json metrics = Json::object();
  if (run.stages.contains("train")) {
    const Json& outputs = run.stages["train"].at("outputs");
    if (outputs.contains("train_loss")) metrics["train_loss"] = outputs["train_loss"];
  }
  for (const auto& [metric, score] : run.scores) {
    metrics[metric] = score.bits_per_byte;
    metrics["val_tokens"] = score.tokens;
    metrics["val_bytes"] = score.bytes;
  }
  return metrics;
}

RunRecord read(const fs::path& folder) {
  RunRecord run;
  run.folder = fs::absolute(folder).lexically_normal();
  if (!run.folder.has_filename()) run.folder = run.folder.parent_path();
  run.id = run.folder.filename().string();
  CADDIE_CHECK(fs::exists(run.folder / "resolved.json"), ErrorKind::data,
               "it has no resolved.json: not a run's folder");
  run.resolved = read_json(run.folder / "resolved.json");
  CADDIE_CHECK(run.resolved.is_object() && run.resolved.contains("name"), ErrorKind::data,
               "resolved.json is not a resolved manifest");
  run.name = text_of(run.resolved, "name");
  run.seed = run.resolved.value("seed", std::int64_t{0});
  CADDIE_CHECK(fs::exists(run.folder / "status.json"), ErrorKind::data,
               "it has no status.json: it was torn while it was made");
  const Json status = read_json(run.folder / "status.json");
  run.status = text_of(status, "status");
  run.stage = text_of(status, "stage");
  run.error = text_of(status, "error");
  run.started = text_of(status, "started");
  run.updated = text_of(status, "updated");
  run.host = text_of(status, "host");
  run.process = status.value("process", std::int64_t{0});
  run.overrides = lines_of(run.folder / "overrides.txt");
  run.plugins = optional_json(run.folder / "plugins.json");
  run.environment = optional_json(run.folder / "environment.json");
  run.sweep = optional_json(run.folder / "sweep.json");
  for (const Json& tag : optional_json(run.folder / "tags.json")) run.tags.push_back(tag.get<std::string>());
  read_stages(run);
  read_scores(run);
  if (const Json finished = optional_json(run.folder / "result.json"); finished.is_object()) {
    run.result = finished.at("result");
    run.more = finished.value("more", Json::object());
    run.metrics = run.result.at("metrics");
  } else {
    run.metrics = metrics_of_stages(run);
  }
  for (const auto& [stage, facts] : run.stages.items()) run.seconds += facts.value("computed_seconds", 0.0);
  return run;
}

}  // namespace

std::string RunRecord::group() const {
  Json without = resolved;
  without.erase("seed");
  return sha256(canonical(without));
}

std::string RunRecord::shown_status() const {
  if (status != "running" || host.empty() || process <= 0) return status;
  char own[256] = {};
  if (::gethostname(own, sizeof own - 1) != 0 || host != own) return status;
  return ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH ? "lost" : status;
}

RunRecord load_run(const fs::path& folder) {
  try {
    return read(folder);
  } catch (Error& error) {
    throw error.add_context("run folder " + folder.string());
  } catch (const std::exception& error) {
    throw Error(ErrorKind::data, error.what()).add_context("run folder " + folder.string());
  }
}

std::vector<fs::path> run_folders(const fs::path& runs) {
  std::vector<std::string> names;  // sorting paths compares them part by part
  std::error_code code;
  for (auto item = fs::directory_iterator(runs, code); !code && item != fs::directory_iterator();
       item.increment(code)) {
    std::string name = item->path().filename().string();
    std::error_code ignored;
    if (!name.starts_with(".") && name != "sweeps" && item->is_directory(ignored)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  std::vector<fs::path> folders;
  for (const std::string& name : names) folders.push_back(runs / name);
  return folders;
}

RunScan scan_runs(const fs::path& runs) {
  RunScan scan;
  for (const fs::path& folder : run_folders(runs)) {
    try {
      scan.runs.push_back(load_run(folder));
    } catch (const Error& error) {
      scan.skipped.push_back({folder, error.message()});
    }
  }
  return scan;
}

fs::path find_run(const fs::path& runs, const std::string& run) { return pipeline::RunFolder::open(runs, run).path(); }

namespace {

void flatten_into(const Json& value, const std::string& path, std::map<std::string, Json>& leaves) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, child] : value.items()) flatten_into(child, path.empty() ? key : path + "." + key, leaves);
    return;
  }
  const bool maps = value.is_array() && !value.empty() &&
                    std::all_of(value.begin(), value.end(), [](const Json& item) { return item.is_object(); });
  if (!maps) {
    leaves[path] = value;
    return;
  }
  // By `match` where that tells the entries apart.
  std::set<std::string> names;
  for (const Json& item : value) names.insert(text_of(item, "match"));
  const bool by_match = names.size() == value.size() && !names.contains("");
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string selector = by_match ? "match=" + value[i].at("match").get<std::string>() : std::to_string(i);
    flatten_into(value[i], concat(path, "[", selector, "]"), leaves);
  }
}

}  // namespace

std::map<std::string, Json> flatten(const Json& value, const std::string& prefix) {
  std::map<std::string, Json> leaves;
  if (value.is_object() && value.empty() && prefix.empty()) return leaves;
  flatten_into(value, prefix, leaves);
  return leaves;
}

}  // namespace caddie::registry
