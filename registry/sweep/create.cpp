#include "registry/sweep/create.h"

#include <unistd.h>

#include <algorithm>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/config/frozen.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

std::string hash_of(const SweepPlan& plan, const Json& options) {
  Json all = {{"sweep", plan.name}, {"options", options}, {"jobs", Json::array()}};
  for (const PlannedJob& job : plan.jobs) all["jobs"].push_back({job.job.job, job.job.hash});
  return sha256(canonical(all));
}

Json planned(const PlannedJob& job) {
  return {{"job", job.job.job}, {"name", job.job.variant}, {"seed", job.job.seed}, {"overrides", job.job.overrides},
          {"hash", job.job.hash}, {"exclusive", job.exclusive}};
}

}  // namespace

SweepFolder create_sweep(const fs::path& runs, const Sweep& sweep, const SweepPlan& plan,
                         const std::vector<Manifest>& manifests, const Json& options) {
  const std::string hash = hash_of(plan, options);
  const fs::path all = fs::absolute(runs).lexically_normal() / "sweeps";
  const fs::path temporary = all / concat(".tmp.", hash.substr(0, 16), ".", ::getpid());
  std::error_code code;
  fs::remove_all(temporary, code);
  for (const char* part : {"jobs", "state", "output", "locks"}) make_directories(temporary / part);
  write_atomic(temporary / "sweep.yaml", sweep.text);
  write_atomic(temporary / "base.yaml", read_text(sweep.base));
  Json jobs = Json::array();
  for (std::size_t i = 0; i < plan.jobs.size(); ++i) {
    jobs.push_back(planned(plan.jobs[i]));
    write_json(temporary / "jobs" / (plan.jobs[i].job.job + ".json"), freeze(manifests.at(i)));
  }
  write_json(temporary / "plan.json",
             {{"sweep", plan.name}, {"file", sweep.file.string()}, {"base", sweep.base.string()}, {"hash", hash},
              {"created", utc_timestamp()}, {"options", options}, {"jobs", jobs}});
  const std::string base = concat(utc_compact(), "_", plan.name, "_", hash.substr(0, 8));
  for (int i = 1; i < 1000; ++i) {
    const fs::path path = all / (i == 1 ? base : concat(base, "-", i));
    if (fs::exists(path)) continue;
    fs::rename(temporary, path, code);
    if (!code) return SweepFolder(path);
  }
  throw Error(ErrorKind::failed, concat("cannot make the sweep's folder in ", all.string(), ": ", code.message()),
              "Choose another folder with --runs DIR.");
}

std::optional<SweepFolder> find_unfinished(const fs::path& runs, const SweepPlan& plan, const Json& options) {
  const std::string hash = hash_of(plan, options);
  std::vector<fs::path> folders = list_sweeps(runs);
  for (auto it = folders.rbegin(); it != folders.rend(); ++it) {
    if (read_json(*it / "plan.json").value("hash", std::string()) != hash) continue;
    const SweepRecord record = load_sweep_record(*it);
    const bool open = std::any_of(record.jobs.begin(), record.jobs.end(), [](const SweepJob& job) {
      return job.status == "pending" || job.status == "running" || job.status == "interrupted";
    });
    if (open) return SweepFolder(*it);
    return std::nullopt;
  }
  return std::nullopt;
}

void add_jobs(const SweepFolder& folder, const std::vector<PlannedJob>& jobs, const std::vector<Manifest>& manifests) {
  Json plan = read_json(folder.plan());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    write_json(folder.manifest(jobs[i].job.job), freeze(manifests.at(i)));
    plan["jobs"].push_back(planned(jobs[i]));
  }
  write_json(folder.plan(), plan);
}

Json sweep_options(const SweepFolder& folder) { return read_json(folder.plan()).value("options", Json::object()); }

}  // namespace caddie::registry
