// Sweeps on Slurm: `sweep run --launcher slurm` submits arrays, `sweep task` is what one of their tasks does.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/config/frozen.h"
#include "registry/sweep/result.h"
#include "registry/sweep/slurm.h"
#include "tools/cli/sweep.h"

namespace caddie::cli {
using registry::SweepFolder;
namespace {

// Jobs that compute something first, and those that would wait for them.
struct Waves {
  std::vector<std::size_t> first, second;
};

Waves waves_of(const std::vector<std::size_t>& places, const std::vector<registry::Forecast>& forecasts) {
  Waves waves;
  std::set<std::string> computed;
  for (const std::size_t place : places) {
    const auto& needs = forecasts[place].needs;
    // The data is quick to make: those that train side by side may wait for it.
    const auto need = std::find_if(needs.begin(), needs.end(),
                                   [](const auto& n) { return !n.cached && n.stage != "data"; });
    const bool leads = need == needs.end() || computed.insert(need->token).second;
    (leads ? waves.first : waves.second).push_back(place);
  }
  return waves;
}

bool wants_gpu(const Manifest& manifest) { return manifest.resolved.at("device") == "cuda"; }

}  // namespace

int submit_folder(const Globals& globals, const SweepArguments& arguments, const SweepFolder& folder, bool retry,
                  const std::vector<std::string>& only) {
  registry::SweepRecord record = registry::load_sweep_record(folder.path());
  check_jobs(record, only);
  const auto queue = registry::slurm_queue(record);
  record = registry::with_slurm_states(std::move(record));
  const Json options = registry::sweep_options(folder);
  const auto forecast = forecaster(options.value("cache", std::string()), make_catalogue(globals), false,
                                   ranks_of(options.value("gpus", std::int64_t{0})));
  std::vector<registry::Forecast> forecasts;
  std::vector<std::size_t> places;
  registry::SlurmSettings settings;
  settings.gpus = static_cast<int>(options.value("gpus", std::int64_t{0}));
  for (std::size_t i = 0; i < record.jobs.size(); ++i) {
    registry::SweepJob& job = record.jobs[i];
    const auto manifest = read_frozen(folder.manifest(job.job));
    if (!manifest) throw Error(ErrorKind::data, folder.manifest(job.job).string() + " is missing");
    forecasts.push_back(forecast(*manifest));
    if (wants_gpu(*manifest)) settings.gpus = std::max(settings.gpus, 1);
    const bool named = only.empty() || std::find(only.begin(), only.end(), job.job) != only.end();
    const bool open = job.status == "pending" || job.status == "interrupted";
    const bool ended_badly = std::set<std::string>{"failed", "cancelled", "illegal", "budget"}.contains(job.status);
    const bool again = retry && ended_badly;
    if (!named || queue.contains(job.job) || !(open || again)) continue;
    if (again && !arguments.print_script) {
      std::error_code ignored;
      std::filesystem::remove(folder.request(job.job), ignored);
      std::filesystem::remove(folder.runs() / job.run / "result.json", ignored);
      job.status = "pending";
      job.note.clear();
      folder.write_state(job);
    }
    places.push_back(i);
  }
  const Json plan = read_json(folder.plan());
  for (const std::size_t place : places)
    settings.exclusive = settings.exclusive || plan.at("jobs").at(place).value("exclusive", false);
  settings.options = arguments.slurm;
  settings.parallel = static_cast<int>(arguments.jobs);
  settings.threads = static_cast<int>(std::max<std::int64_t>(1, arguments.threads));
  settings.program = own_program();
  if (arguments.retries > 0) settings.task_options = {"--retries", std::to_string(arguments.retries)};
  const Waves waves = waves_of(places, forecasts);
  if (arguments.print_script) {
    for (const auto* wave : {&waves.first, &waves.second})
      if (!wave->empty()) std::fputs(registry::slurm_script(folder, *wave, settings).c_str(), stdout);
    return 0;
  }
  std::vector<std::string> ids;
  for (const auto* wave : {&waves.first, &waves.second})
    if (!wave->empty()) {
      const std::string script = registry::slurm_script(folder, *wave, settings);
      ids.push_back(registry::slurm_submit(folder, script, *wave, ids.empty() ? "" : ids.back()));
    }
  std::string text = concat("submitted ", places.size(), " jobs of ", record.id, " to Slurm");
  for (const std::string& id : ids) text += "   array " + id;
  print_result(globals, canonical(Json{{"sweep", record.name}, {"id", record.id}, {"directory", folder.path().string()},
                                       {"arrays", ids}, {"submitted", places.size()}}),
               text + "\nnext\n  " + invoked() + " sweep status " + record.id + same_folders(globals) + "\n  " + invoked() +
                   " sweep wait " + record.id + same_folders(globals) + "\n");
  return 0;
}

int task_command(const Globals& globals, const SweepArguments& arguments, const std::string& path, std::int64_t place) {
  const SweepFolder folder(std::filesystem::absolute(path).lexically_normal());
  const registry::SweepRecord record = registry::load_sweep_record(folder.path());
  if (place < 0 || place >= static_cast<std::int64_t>(record.jobs.size()))
    throw Error(ErrorKind::usage, concat("the sweep has no job at place ", place));
  const registry::SweepJob& job = record.jobs[static_cast<std::size_t>(place)];
  Globals silent = globals;
  silent.runs = folder.runs().string();
  const registry::RunnerOutcome outcome = run_jobs(silent, arguments, folder, false, {job.job}, "task_" + job.job);
  if (outcome.limit_near) registry::slurm_requeue_self();
  const std::string status = registry::load_sweep_record(folder.path()).jobs[static_cast<std::size_t>(place)].status;
  if (outcome.signal != 0) return 128 + outcome.signal;
  return status == "ok" || status == "budget" ? 0 : outcome.interrupted ? 75 : 1;
}

}  // namespace caddie::cli
