// A run's folder: the truth about a run, written whole file by whole file. The registry's index is made from it.
//
//   runs/<utc>_<name>_<hash8>/
//     manifest.yaml resolved.json overrides.txt plugins.json environment.json   what was asked for, and with what
//     status.json metrics.jsonl log.txt ledger.jsonl                            what happens
//     stages/<stage>.json artifact/ result.json                                 what came out
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie {
class EventFile;
}

namespace caddie::pipeline {

class Session;

class CADDIE_API RunFolder {
 public:
  // A new folder under `runs` with everything that is known before the first stage.
  static RunFolder create(const std::filesystem::path& runs, const Session& session);
  // The same under a name that the caller has reserved; an empty or half-made folder of that name is completed.
  static RunFolder create(const std::filesystem::path& runs, const Session& session, const std::string& id);
  // An existing one: an id, the beginning of an id that only one run has, or a path. Throws Error(usage).
  static RunFolder open(const std::filesystem::path& runs, const std::string& run);

  const std::filesystem::path& path() const { return path_; }
  std::string id() const { return path_.filename().string(); }
  std::filesystem::path artifact() const { return path_ / "artifact" / "model.caddie"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path ledger() const { return path_ / "ledger.jsonl"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoint"; }

  Json resolved() const;
  void set_status(const std::string& status, const Json& more = Json::object()) const;
  Json status() const;
  void write_stage(const std::string& stage, const Json& facts) const;
  void write_result(const Json& result) const;
  // A line of metrics.jsonl: {"step", "train_loss", ...}.
  void add_metrics(const Json& line) const;

  // From now on metrics go into a TensorBoard event file in this folder too (`run --tensorboard`).
  void record_events();
  // Metrics that were computed before, as metrics.jsonl has them.
  void replay_events() const;
  // A number under `tag`, as "score/val_bpb"; nothing without record_events().
  void add_event(const std::string& tag, std::int64_t step, double value) const;
  Json result() const;  // null if the run did not finish

 private:
  explicit RunFolder(std::filesystem::path path);
  std::filesystem::path path_;
  std::shared_ptr<EventFile> events_;
};

}  // namespace caddie::pipeline
