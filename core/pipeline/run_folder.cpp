#include "core/pipeline/run_folder.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/environment.h"
#include "core/base/event_file.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/pipeline/run.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

Json plugins_of(const Session& session) {
  Json plugins = Json::object();
  const auto add = [&](PluginKind kind, const Json& section) {
    if (section.is_null()) return;
    const std::string name = section.at("use").get<std::string>();
    plugins[std::string(kind_name(kind)) + " " + name] = to_json(session.catalogue().provenance(kind, name));
  };
  add(PluginKind::model, session.section("model"));
  for (const Json& entry : session.section("optimizers")) add(PluginKind::optimizer, entry);
  if (!session.section("quantize").is_null())
    for (const Json& entry : session.section("quantize").at("tensors")) add(PluginKind::quantizer, entry);
  add(PluginKind::compressor, session.section("compress"));
  add(PluginKind::ttt, session.section("ttt"));
  return plugins;
}

// A process number means something on its own machine only.
std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// mkdir tells whether the name is ours: two runs that start in the same second get different folders.
fs::path new_folder(const fs::path& runs, const Session& session) {
  make_directories(runs);
  const std::string base = concat(utc_compact(), "_", session.resolved().at("name").get<std::string>(), "_",
                                  sha256(canonical(session.resolved())).substr(0, 8));
  for (int i = 1; i < 1000; ++i) {
    const fs::path path = fs::absolute(runs) / (i == 1 ? base : concat(base, "-", i));
    std::error_code code;
    if (fs::create_directory(path, code)) return path;
    if (code)
      throw Error(ErrorKind::failed, concat("cannot make the run's folder ", path.string(), ": ", code.message()),
                  "Choose another folder with --runs DIR.");
  }
  throw Error(ErrorKind::failed, concat("cannot make a run folder in ", runs.string()));
}

}  // namespace


RunFolder RunFolder::create(const fs::path& runs, const Session& session) {
  return create(runs, session, new_folder(runs, session).filename().string());
}

RunFolder RunFolder::create(const fs::path& runs, const Session& session, const std::string& id) {
  RunFolder folder(fs::absolute(runs) / id);
  make_directories(folder.path_ / "stages");
  make_directories(folder.path_ / "artifact");
  const Manifest& manifest = session.manifest();
  write_atomic(folder.path_ / "manifest.yaml", manifest.text);
  std::string overrides;
  for (const std::string& text : manifest.overrides) overrides += text + "\n";
  write_atomic(folder.path_ / "overrides.txt", overrides);
  write_json(folder.path_ / "plugins.json", plugins_of(session));
  Json environment = environment_facts();
  environment["device"] = session.device().str();
  environment["precision"] = precision_name(session.precision());
  // What `pack` ships must be what ran.
  if (const auto source = source_archive()) environment["source_sha256"] = sha256_file(*source);
  write_json(folder.path_ / "environment.json", environment);
  folder.set_status("running", {{"stage", nullptr}});
  write_json(folder.path_ / "resolved.json", manifest.resolved);  // last: with it the folder is a run
  return folder;
}

Json RunFolder::resolved() const { return read_json(path_ / "resolved.json"); }

void RunFolder::set_status(const std::string& status, const Json& more) const {
  Json facts = fs::exists(path_ / "status.json") ? read_json(path_ / "status.json") : Json::object();
  if (!facts.contains("started")) facts["started"] = utc_timestamp();
  facts["status"] = status;
  facts["updated"] = utc_timestamp();
  facts["process"] = ::getpid();
  facts["host"] = host_name();
  facts.update(more);
  if (status == "running") facts.erase("error");
  write_json(path_ / "status.json", facts);
}

Json RunFolder::status() const { return read_json(path_ / "status.json"); }

void RunFolder::write_stage(const std::string& stage, const Json& facts) const {
  write_json(path_ / "stages" / (stage + ".json"), facts);
}
namespace {

void add_step(EventFile& events, const Json& line, double wall_seconds) {
  const auto step = line.value("step", std::int64_t{0});
  const auto add = [&](const char* tag, const char* key) {
    if (line.contains(key) && line[key].is_number()) events.scalar(tag, step, line[key].get<double>(), wall_seconds);
  };
  add("train/loss", "train_loss");
  add("train/rate_factor", "rate_factor");
  add("train/tokens_per_second", "tokens_per_second");
  add("validation/loss", "val_loss");
  add("validation/bits_per_byte", "val_bpb");
}

}  // namespace

void RunFolder::add_metrics(const Json& line) const {
  append_line(metrics(), canonical(line));
  if (events_) add_step(*events_, line, 0);
}

void RunFolder::record_events() {
  events_ = std::make_shared<EventFile>(path_);
  events_->text("manifest", 0, "```\n" + resolved().dump(2) + "\n```");
}

void RunFolder::replay_events() const {
  if (!events_ || !fs::exists(metrics())) return;
  const std::vector<Json> lines = read_json_lines(metrics());
  if (lines.empty()) return;
  // As if training had ended now.
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const double start = now - lines.back().value("elapsed_seconds", 0.0);
  for (const Json& line : lines) add_step(*events_, line, start + line.value("elapsed_seconds", 0.0));
}

void RunFolder::add_event(const std::string& tag, std::int64_t step, double value) const {
  if (events_) events_->scalar(tag, step, value);
}

void RunFolder::write_result(const Json& result) const { write_json(path_ / "result.json", result); }

Json RunFolder::result() const {
  return fs::exists(path_ / "result.json") ? read_json(path_ / "result.json") : Json();
}

}  // namespace caddie::pipeline
