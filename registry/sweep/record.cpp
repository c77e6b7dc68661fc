// Reads sweep folders, and reads and writes the state of their jobs.
#include "registry/sweep/record.h"

#include <algorithm>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/suggest.h"
#include "registry/sweep/folder.h"
#include "registry/sweep/lock.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

bool is_sweep_folder(const fs::path& path) {
  std::error_code code;
  return fs::exists(path / "plan.json", code);
}

SweepJob job_of(const Json& planned) {
  SweepJob job;
  job.job = planned.at("job").get<std::string>();
  job.variant = planned.at("name").get<std::string>();
  job.seed = planned.at("seed").get<std::int64_t>();
  job.overrides = planned.at("overrides").get<std::vector<std::string>>();
  job.hash = planned.at("hash").get<std::string>();
  return job;
}

std::string name_of(const fs::path& folder) { return read_json(folder / "plan.json").at("sweep").get<std::string>(); }

// Empty if there is none; several matches are in `matching`.
fs::path look_up(const fs::path& runs, const std::string& text, std::vector<std::string>& matching) {
  if (!text.empty() && is_sweep_folder(text)) return fs::absolute(text).lexically_normal();
  if (!text.empty() && is_sweep_folder(runs / "sweeps" / text))
    return fs::absolute(runs / "sweeps" / text).lexically_normal();
  const std::vector<fs::path> all = list_sweeps(runs);
  if (text.empty()) return all.empty() ? fs::path() : all.back();
  for (auto it = all.rbegin(); it != all.rend(); ++it)
    if (name_of(*it) == text) return *it;
  for (const fs::path& folder : all)
    if (folder.filename().string().starts_with(text)) matching.push_back(folder.filename().string());
  return matching.size() == 1 ? fs::absolute(runs / "sweeps" / matching[0]).lexically_normal() : fs::path();
}

}  // namespace

void SweepFolder::read_state(SweepJob& job) const {
  const fs::path path = state(job.job);
  if (!fs::exists(path)) return;
  const Json state = read_json(path);
  job.status = state.at("status").get<std::string>();
  job.run = state.at("run").is_null() ? "" : state.at("run").get<std::string>();
  job.note = state.value("note", std::string());
  job.attempts.clear();
  for (const Json& attempt : state.at("attempts"))
    job.attempts.push_back({attempt.at("run"), attempt.at("exit_code"), attempt.at("reason"), attempt.at("started"),
                            attempt.at("seconds")});
}

void SweepFolder::write_state(const SweepJob& job) const {
  Json attempts = Json::array();
  for (const SweepAttempt& a : job.attempts)
    attempts.push_back({{"run", a.run}, {"exit_code", a.exit_code}, {"reason", a.reason}, {"started", a.started},
                        {"seconds", a.seconds}});
  Json state = {{"job", job.job}, {"status", job.status}, {"run", job.run.empty() ? Json() : Json(job.run)},
                {"attempts", attempts}};
  if (!job.note.empty()) state["note"] = job.note;
  make_directories(path_ / "state");
  write_json(this->state(job.job), state);
}

void SweepFolder::heed_request(SweepJob& job) const {
  if (job.status != "interrupted" || !fs::exists(request(job.job))) return;
  job.status = "cancelled";
  job.note = "cancelled";
}

SweepRecord load_sweep_record(const fs::path& path) {
  const SweepFolder folder(fs::absolute(path).lexically_normal());
  if (!is_sweep_folder(folder.path()))
    throw Error(ErrorKind::data, concat(folder.path().string(), " is no sweep: it has no plan.json"));
  try {
    const Json plan = read_json(folder.plan());
    SweepRecord record{folder.id(), plan.at("sweep").get<std::string>(), folder.path(), folder.runs(), {}};
    // Jobs on other machines hold locks that are not seen here; Slurm's queue tells (slurm.h).
    const bool elsewhere = fs::exists(folder.path() / "slurm.json");
    for (const Json& planned : plan.at("jobs")) {
      SweepJob job = job_of(planned);
      folder.read_state(job);
      const bool runs = job.status == "running";
      if (runs && !elsewhere && !FileLock::is_held(folder.job_lock(job.job))) job.status = "interrupted";
      folder.heed_request(job);
      record.jobs.push_back(std::move(job));
    }
    return record;
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data,
                concat(folder.path().string(), " is not a sweep's folder as caddie writes it: ", error.what()));
  }
}

std::vector<fs::path> list_sweeps(const fs::path& runs) {
  std::vector<fs::path> folders;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(runs / "sweeps", code))
    if (is_sweep_folder(item.path())) folders.push_back(fs::absolute(item.path()).lexically_normal());
  std::sort(folders.begin(), folders.end());  // names begin with the time
  return folders;
}

fs::path find_sweep(const fs::path& runs, const std::string& text) {
  std::vector<std::string> matching;
  const fs::path found = look_up(runs, text, matching);
  if (!found.empty()) return found;
  const fs::path where = fs::absolute(runs / "sweeps").lexically_normal();
  if (matching.size() > 1)
    throw Error(ErrorKind::usage,
                concat("'", text, "' is the beginning of ", matching.size(), " sweeps in ", where.string()),
                "Write more of the name; caddie sweep list shows all.");
  if (text.empty())
    throw Error(ErrorKind::usage, concat("there is no sweep in ", where.string()),
                "caddie sweep run SWEEP.yaml starts one; --runs DIR looks elsewhere.");
  std::vector<std::string> names;
  for (const fs::path& folder : list_sweeps(runs)) {
    names.push_back(folder.filename().string());
    names.push_back(name_of(folder));
  }
  const std::string guess = closest(text, names);
  throw Error(ErrorKind::usage, concat("there is no sweep '", text, "' in ", where.string()),
              guess.empty() ? "caddie sweep list shows all; --runs DIR looks elsewhere."
                            : "Did you mean '" + guess + "'?");
}

bool is_sweep_name(const fs::path& runs, const std::string& text) {
  std::vector<std::string> matching;
  return !look_up(runs, text, matching).empty();
}

Json sweep_of_run(const fs::path& run_folder) {
  const fs::path file = run_folder / "sweep.json";
  return fs::exists(file) ? read_json(file) : Json();
}

}  // namespace caddie::registry
