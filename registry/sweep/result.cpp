#include "registry/sweep/result.h"

#include <filesystem>
#include <map>

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/sweep/live.h"

namespace caddie::registry {
namespace fs = std::filesystem;

Json sweep_result(const SweepRecord& record) {
  Json runs = Json::array(), stages = Json::object();
  for (const SweepJob& job : record.jobs) {
    Json row = {{"run", job.run.empty() ? Json() : Json(job.run)}, {"job", job.job}, {"name", job.variant},
                {"seed", job.seed}, {"status", job.status}, {"metrics", metrics_of(record, job)}};
    if (!job.attempts.empty() && !job.attempts.back().reason.empty()) row["reason"] = job.attempts.back().reason;
    if (!job.note.empty()) row["reason"] = job.note;
    runs.push_back(std::move(row));
    if (job.run.empty()) continue;
    std::error_code code;
    for (const auto& item : fs::directory_iterator(record.runs / job.run / "stages", code)) {
      if (item.path().extension() != ".json") continue;
      const Json facts = read_json(item.path());
      Json& counts = stages[facts.at("stage").get<std::string>()];
      if (counts.is_null()) counts = {{"computed", 0}, {"reused", 0}};
      Json& count = counts[facts.at("cached").get<bool>() ? "reused" : "computed"];
      count = count.get<int>() + 1;
    }
  }
  return {{"sweep", record.name}, {"id", record.id}, {"directory", record.folder.string()}, {"runs", runs},
          {"stages", stages}};
}

int sweep_exit_code(const SweepRecord& record) {
  std::map<std::string, int> counts;
  for (const SweepJob& job : record.jobs) ++counts[job.status];
  if (counts["failed"] + counts["illegal"] > 0) return 8;
  if (counts["pending"] + counts["running"] + counts["interrupted"] > 0) return 75;
  return counts["budget"] > 0 ? 5 : 0;
}

std::string status_counts(const SweepRecord& record) {
  std::map<std::string, int> counts;
  for (const SweepJob& job : record.jobs) ++counts[job.status];
  std::string text;
  for (const char* status :
       {"ok", "budget", "running", "pending", "interrupted", "failed", "illegal", "stopped", "cancelled"})
    if (counts[status] > 0) text += (text.empty() ? "" : ", ") + std::to_string(counts[status]) + " " + status;
  return text.empty() ? "no jobs" : text;
}

}  // namespace caddie::registry
