#include "registry/sweep/live.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/log.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxRows = 12;

Json read_or_nothing(const fs::path& file) {
  std::error_code code;
  if (!fs::exists(file, code)) return Json::object();
  try {
    return read_json(file);
  } catch (const std::exception&) {
    return Json::object();
  }
}

// The last whole line of metrics.jsonl, read from its end.
Json last_metrics(const fs::path& file) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return Json::object();
  const std::streamoff size = in.tellg(), from = std::max<std::streamoff>(0, size - 2000);
  std::string text(static_cast<std::size_t>(size - from), '\0');
  in.seekg(from);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  const auto end = text.rfind('\n');
  if (end == std::string::npos || end == 0) return Json::object();
  const auto start = text.rfind('\n', end - 1);
  const Json line = Json::parse(text.substr(start == std::string::npos ? 0 : start + 1, end - start), nullptr, false);
  return line.is_object() ? line : Json::object();
}

std::string rounded(const Json& value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value.get<double>());
  return text;
}

std::size_t columns() {
  winsize size{};
  return ::ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

std::string count_of(const SweepRecord& record) {
  std::map<std::string, int> counts;
  for (const SweepJob& job : record.jobs) ++counts[job.status];
  const int all = static_cast<int>(record.jobs.size());
  return concat(all - counts["pending"] - counts["running"], "/", all);
}

}  // namespace

std::string headline(const Json& metrics) {
  for (const char* name : {"ttt_bpb", "sliding_bpb", "roundtrip_bpb", "val_bpb", "train_loss"})
    if (metrics.contains(name) && metrics[name].is_number()) return std::string(name) + " " + rounded(metrics[name]);
  return {};
}

Json metrics_of(const SweepRecord& record, const SweepJob& job) {
  if (job.run.empty()) return Json::object();
  const Json result = read_or_nothing(record.runs / job.run / "result.json");
  return result.contains("result") ? result["result"].value("metrics", Json::object()) : Json::object();
}

LiveTable::LiveTable(const SweepRecord&) {}

void LiveTable::started(const SweepRecord& record, std::size_t job) {
  const SweepJob& s = record.jobs[job];
  const std::string again = s.attempts.size() > 1 ? concat(", attempt ", s.attempts.size()) : "";
  log::info(concat("start    ", s.job, "   run ", s.run, again));
}

void LiveTable::ended(const SweepRecord& record, std::size_t job, const std::string& status,
                      const std::string& printed) {
  const SweepJob& s = record.jobs[job];
  const bool good = status == "ok";
  std::string name = status;
  name.resize(std::max<std::size_t>(name.size(), 8), ' ');
  std::string line = log::styled(name, good ? "32" : "31;1") + " " + s.job + "   ";
  const std::string score = good || status == "budget" ? headline(metrics_of(record, s)) : "";
  if (!score.empty()) line += score + "   ";
  if (!s.attempts.empty()) {
    line += human_seconds(s.attempts.back().seconds);
    if (!s.attempts.back().reason.empty()) line += "   " + s.attempts.back().reason;
  }
  if (s.status == "pending") line += "   (it starts again)";
  log::info(line + "   [" + count_of(record) + "]");
  for (std::size_t start = 0; start < printed.size();) {
    const std::size_t end = std::min(printed.find('\n', start), printed.size());
    log::info("         | " + printed.substr(start, end - start));
    start = end + 1;
  }
}

std::string LiveTable::progress_of(const SweepRecord& record, const SweepJob& job) const {
  const fs::path run = record.runs / job.run;
  const Json status = read_or_nothing(run / "status.json");
  const Json stage = status.value("stage", Json());
  std::string text = stage.is_string() ? stage.get<std::string>() : "starting";
  if (text != "train") return text;
  const Json metrics = last_metrics(run / "metrics.jsonl");
  if (metrics.contains("step")) text += concat("  step ", metrics["step"].dump());
  const Json wanted = read_or_nothing(run / "resolved.json");
  if (const Json::json_pointer steps("/train/stop/steps"); wanted.contains(steps) && wanted[steps].is_number())
    text += concat(" of ", wanted[steps].dump());
  if (const Json loss = metrics.value("train_loss", Json()); loss.is_number()) text += "  loss " + rounded(loss);
  return text;
}

void LiveTable::draw(const SweepRecord& record, const std::vector<std::string>& waits) {
  if (!log::fancy() || (drawn_ && since_draw_.seconds() < 0.5)) return;
  drawn_ = true;
  since_draw_.restart();
  std::vector<std::string> rows;
  std::size_t pending = 0, failed = 0, width = 0;
  for (const SweepJob& job : record.jobs)
    if (job.status == "running") width = std::max(width, job.job.size());
  for (std::size_t i = 0; i < record.jobs.size(); ++i) {
    const SweepJob& job = record.jobs[i];
    pending += job.status == "pending";
    failed += job.status == "failed" || job.status == "illegal";
    if (job.status != "running" || rows.size() >= kMaxRows) continue;
    rows.push_back("  " + job.job + std::string(width - job.job.size(), ' ') + "  " + progress_of(record, job));
  }
  const auto held = std::count_if(waits.begin(), waits.end(), [](const std::string& wait) { return !wait.empty(); });
  std::string text = concat(record.name, "  ", human_seconds(since_start_.seconds()), "  ", count_of(record), " done");
  if (failed > 0) text += concat("  ", failed, " failed");
  text += concat("  ", pending, " to come");
  if (held > 0) text += concat(" (", held, " wait for a stage of another)");
  rows.insert(rows.begin(), text);
  text.clear();
  for (const std::string& row : rows) text += (text.empty() ? "" : "\n") + row.substr(0, columns() - 1);
  log::set_status(text);
}

}  // namespace caddie::registry
