// From a sweep's file or folder to the runner.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/config/frozen.h"
#include "core/pipeline/plan.h"
#include "registry/sweep/halving.h"
#include "registry/sweep/live.h"
#include "registry/sweep/result.h"
#include "registry/sweep/significance.h"
#include "registry/sweep/slurm.h"
#include "tools/cli/sweep.h"

namespace caddie::cli {
namespace fs = std::filesystem;
using registry::SweepFolder;

std::string own_program() {
  std::string path = fs::read_symlink("/proc/self/exe").string();
  const std::string gone = " (deleted)";  // rebuilt while it runs
  if (path.ends_with(gone)) path.resize(path.size() - gone.size());
  return path;
}

namespace {
// On a machine without the GPU that the manifest asks for, jobs are planned as on a CPU: what they share is the same.
pipeline::Session session_of(Manifest manifest, const std::shared_ptr<const Catalogue>& catalogue, int ranks) {
  try {
    return pipeline::Session(manifest, catalogue, {ranks, nullptr});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::environment || manifest.resolved.at("device") != "cuda") throw;
    manifest.resolved["device"] = "cpu";
    manifest.resolved["precision"] = "float32";
    return pipeline::Session(std::move(manifest), catalogue, {ranks, nullptr});
  }
}
}  // namespace

registry::Forecaster forecaster(const std::string& cache, std::shared_ptr<const Catalogue> catalogue, bool predict,
                                int ranks, int threads) {
  auto walk = std::make_shared<pipeline::Walk>(cache);
  auto fetched = std::make_shared<std::set<std::string>>();
  return [walk, fetched, catalogue, predict, cache, ranks, threads](Manifest manifest) {
    if (Json& stated = manifest.resolved.at("threads"); stated == 0) stated = threads;
    const pipeline::Session session = session_of(std::move(manifest), catalogue, ranks);
    // A dataset that is named is pulled once, before the jobs.
    if (!predict && fetched->insert(canonical(session.section("data"))).second) pipeline::fetch_data(session, false);
    const pipeline::Walk::Steps steps = walk->follow(session);
    registry::Forecast forecast;
    forecast.needs = steps.needs;
    forecast.missing = steps.missing;
    forecast.gpu = session.device().is_cuda();
    if (predict) {
      const Json plan = pipeline::plan(session, cache, steps);
      forecast.predicted = plan.at("predicted");
      forecast.fits = plan.at("fits").is_null() || plan.at("fits").get<bool>();
    }
    return forecast;
  };
}

Placement placement(const SweepArguments& arguments, const std::vector<registry::Forecast>& forecasts) {
  Placement place;
  const int cores = registry::usable_cores();
  const bool gpu = std::any_of(forecasts.begin(), forecasts.end(), [](const auto& f) { return f.gpu; });
  if (gpu) place.slots.gpus = registry::visible_gpus();
  place.slots.gpus_per_job = static_cast<int>(std::max<std::int64_t>(1, arguments.gpus));
  // Jobs that can go side by side at first: those that wait for a shared stage do not count.
  std::set<std::string> firsts;
  for (const registry::Forecast& forecast : forecasts) {
    const auto first = std::find_if(forecast.needs.begin(), forecast.needs.end(),
                                    [](const auto& n) { return !n.cached && n.stage != "data"; });  // data is quick
    firsts.insert(first == forecast.needs.end() ? std::string() : first->token);
  }
  const int side_by_side = std::clamp(static_cast<int>(firsts.size()), 1, cores);
  const char* stated = std::getenv("OMP_NUM_THREADS");
  int threads = static_cast<int>(arguments.threads);
  if (threads <= 0 && arguments.jobs > 0) threads = std::max(1, cores / static_cast<int>(arguments.jobs));
  if (threads <= 0 && stated != nullptr) threads = std::atoi(stated);
  if (threads <= 0) threads = std::max(1, cores / side_by_side);
  place.jobs = static_cast<int>(arguments.jobs);
  if (place.jobs <= 0)
    place.jobs = std::max(1, place.slots.gpus.empty()
                                 ? cores / threads
                                 : static_cast<int>(place.slots.gpus.size()) / place.slots.gpus_per_job);
  place.slots.threads = threads;
  // More than there are only if it was asked for.
  place.slots.cores = std::max(cores, place.slots.gpus.empty() ? place.jobs * threads : 0);
  return place;
}

PlannedSweep plan_file(const Globals& globals, const SweepArguments& arguments, bool predict) {
  const auto catalogue = make_catalogue(globals);
  std::vector<std::string> overrides = arguments.words;
  if (!arguments.seeds.empty()) overrides.push_back("seeds=[" + arguments.seeds + "]");
  if (arguments.gpus > 1) overrides.push_back("device=cuda");
  PlannedSweep planned{load_sweep(arguments.file, *catalogue, overrides), {}, {}};
  const auto plan_with = [&](int threads) {
    planned.manifests.clear();
    planned.plan = registry::plan_sweep(planned.sweep, *catalogue,
                                        forecaster(globals.cache, catalogue, predict, ranks_of(arguments.gpus), threads),
                                        planned.manifests);
  };
  plan_with(0);
  if (!predict) return planned;
  // How fast a run is depends on its threads, and those on how many jobs can go side by side.
  std::vector<registry::Forecast> forecasts;
  for (const auto& job : planned.plan.jobs) forecasts.push_back(job.forecast);
  if (const Placement place = placement(arguments, forecasts); place.slots.gpus.empty()) plan_with(place.slots.threads);
  return planned;
}

SweepFolder take_sweep(const Globals& globals, std::vector<std::string>& words) {
  const bool named = !words.empty() && registry::is_sweep_name(globals.runs, words.front());
  if (!named && !words.empty()) {
    // A word that is a job of the latest sweep, or a name that is wrong.
    const auto folders = registry::list_sweeps(globals.runs);
    const auto is_job = [&](const registry::SweepJob& job) { return job.job == words.front(); };
    std::vector<registry::SweepJob> jobs;
    if (!folders.empty()) jobs = registry::load_sweep_record(folders.back()).jobs;
    if (std::none_of(jobs.begin(), jobs.end(), is_job)) registry::find_sweep(globals.runs, words.front());  // throws
  }
  const fs::path folder = registry::find_sweep(globals.runs, named ? words.front() : "");
  if (named) words.erase(words.begin());
  return SweepFolder(folder);
}

void check_jobs(const registry::SweepRecord& record, const std::vector<std::string>& jobs) {
  for (const std::string& job : jobs)
    if (std::none_of(record.jobs.begin(), record.jobs.end(), [&](const auto& j) { return j.job == job; }))
      throw Error(ErrorKind::usage, "the sweep " + record.id + " has no job '" + job + "'",
                  "caddie sweep status " + record.id + " lists its jobs.");
}

int print_sweep(const Globals& globals, const SweepFolder& folder) {
  const registry::SweepRecord record = registry::with_slurm_states(registry::load_sweep_record(folder.path()));
  std::vector<std::vector<std::string>> rows = {{"job", "status", "score", "seconds", "run"}};
  std::string reasons;
  for (const registry::SweepJob& job : record.jobs) {
    double seconds = 0;
    for (const registry::SweepAttempt& attempt : job.attempts) seconds += attempt.seconds;
    const std::string score = registry::headline(registry::metrics_of(record, job));
    rows.push_back({job.job, job.status, score, fixed(seconds, 1), job.run});
    const std::string reason = !job.note.empty() ? job.note : job.attempts.empty() ? "" : job.attempts.back().reason;
    if (job.status != "ok" && !reason.empty()) reasons += "  " + job.job + ": " + reason + "\n";
  }
  const Json result = registry::sweep_result(record);
  std::string text = table(rows) + "\n" + (reasons.empty() ? "" : reasons + "\n");
  std::vector<std::vector<std::string>> stages = {{"stage", "computed", "reused"}};
  for (const auto& [stage, counts] : result.at("stages").items())
    stages.push_back({stage, counts.at("computed").dump(), counts.at("reused").dump()});
  if (stages.size() > 1) text += table(stages) + "\n";
  text += record.name + ": " + registry::status_counts(record) + "\n" + shown_path(folder.path().string()) + "\n\nnext\n";
  const int code = registry::sweep_exit_code(record);
  const std::string where = same_folders(globals), whole = same_folders(globals, true);
  if (code == 75) text += "  " + invoked() + " sweep resume " + record.id + whole + "\n";
  if (code == 8) text += "  " + invoked() + " sweep retry " + record.id + whole + "\n";
  const bool some = std::any_of(record.jobs.begin(), record.jobs.end(),
                                [](const auto& job) { return job.status == "ok" || job.status == "budget"; });
  if (some) text += "  " + invoked() + " compare " + record.id + where + "\n";
  if (some) text += "  " + invoked() + " report " + record.id + " -o " + record.name + ".html" + where + "\n";
  print_result(globals, canonical(result), text);
  return code;
}

namespace {
// --halving and --until-significant, as the sweep was started with.
registry::RunnerHooks hooks_of(const SweepFolder& folder, const registry::SweepRecord& record, const Json& options,
                               const std::vector<registry::RunnerJob>& jobs, const registry::Forecaster& forecast) {
  registry::RunnerHooks hooks;
  const std::string baseline = options.value("baseline", record.jobs.at(0).variant);
  std::shared_ptr<registry::Halving> halving;
  if (options.value("halving", false)) {
    std::vector<std::vector<pipeline::Need>> needs;
    for (const registry::RunnerJob& job : jobs) needs.push_back(job.needs);
    halving = std::make_shared<registry::Halving>(std::move(needs), baseline);
    hooks.hopeless = [halving](const auto& now, const auto& job) { return (*halving)(now, job); };
  }
  if (!options.contains("max_seeds")) return hooks;
  registry::SignificanceSettings settings;
  settings.baseline = baseline;
  settings.max_seeds = options["max_seeds"].get<int>();
  hooks.more = [=](const registry::SweepRecord& now, std::vector<registry::RunnerJob>& all) {
    registry::MoreJobs more = registry::one_more_seed(now, settings);
    if (more.jobs.empty()) {
      log::info(more.text.empty() ? "every difference from " + baseline + " is decided"
                                  : concat("at the cap of ", settings.max_seeds, " seeds, not decided: ", more.text));
      return false;
    }
    log::info(concat("not decided: ", more.text, "; adding the seed ", more.jobs.front().seed));
    std::vector<registry::PlannedJob> planned;
    for (std::size_t i = 0; i < more.jobs.size(); ++i) {
      const auto is_like = [&](const auto& job) { return job.variant == more.jobs[i].variant; };
      const auto like = std::find_if(now.jobs.begin(), now.jobs.end(), is_like);
      const bool exclusive = all.at(static_cast<std::size_t>(like - now.jobs.begin())).exclusive;
      planned.push_back({more.jobs[i], exclusive, forecast(more.manifests[i])});
      all.push_back({planned.back().forecast.needs, exclusive, planned.back().forecast.gpu});
      if (halving) halving->add(planned.back().forecast.needs);
    }
    registry::add_jobs(folder, planned, more.manifests);
    return true;
  };
  return hooks;
}
}  // namespace

registry::RunnerOutcome run_jobs(const Globals& globals, const SweepArguments& arguments, const SweepFolder& folder,
                                 bool retry, const std::vector<std::string>& only, const std::string& lock) {
  const registry::SweepRecord record = registry::load_sweep_record(folder.path());
  check_jobs(record, only);
  const Json plan = read_json(folder.plan());
  const Json options = registry::sweep_options(folder);
  const std::int64_t gpus = options.value("gpus", std::int64_t{0});
  const std::string cache = globals.cache.empty() ? options.value("cache", std::string()) : globals.cache;
  Globals with_plugins = globals;
  const Json dirs = options.value("plugin_dirs", Json::array());
  for (const Json& dir : dirs) with_plugins.plugin_dirs.push_back(dir.get<std::string>());
  const auto forecast = forecaster(cache, make_catalogue(with_plugins), false, ranks_of(gpus));
  std::vector<registry::RunnerJob> jobs;
  std::vector<registry::Forecast> forecasts;
  for (std::size_t i = 0; i < record.jobs.size(); ++i) {
    const auto manifest = read_frozen(folder.manifest(record.jobs[i].job));
    if (!manifest) throw Error(ErrorKind::data, folder.manifest(record.jobs[i].job).string() + " is missing");
    forecasts.push_back(forecast(*manifest));
    jobs.push_back({forecasts.back().needs, plan.at("jobs").at(i).value("exclusive", false), forecasts.back().gpu});
  }
  SweepArguments as_planned = arguments;
  as_planned.gpus = gpus;
  Placement place = placement(as_planned, forecasts);
  const bool task = lock != "runner";
  if (task) {  // the batch system has given CPUs and GPUs
    const char* cpus = std::getenv("SLURM_CPUS_PER_TASK");
    place.slots.threads = cpus != nullptr ? std::max(1, std::atoi(cpus)) : 1;
    place.slots.gpus.clear();
    place.jobs = 1;
  }
  registry::RunnerSettings settings;
  settings.lock = lock;
  settings.lease = !task;
  settings.slots = place.slots;
  settings.jobs = place.jobs;
  settings.retries = static_cast<int>(arguments.retries);
  settings.fail_fast = arguments.fail_fast;
  settings.max_failures = static_cast<int>(arguments.max_failures);
  settings.retry_failed = retry;
  settings.only = only;
  const std::string until = options.value("until", std::string());
  settings.command = [=, program = own_program()](const registry::SweepJob& job, const std::string& run, int) {
    std::vector<std::string> command = {program, "run", folder.manifest(job.job).string(), "--id", run, "--json",
                                        "--runs", folder.runs().string()};
    if (!cache.empty()) command.insert(command.end(), {"--cache", cache});
    if (gpus > 1) command.insert(command.end(), {"--gpus", std::to_string(gpus)});
    if (!until.empty()) command.insert(command.end(), {"--until", until});
    for (const std::string& dir : with_plugins.plugin_dirs) command.insert(command.end(), {"--plugin-dir", dir});
    return command;
  };
  const registry::SlotSettings& slots = place.slots;
  const std::string each = slots.gpus.empty() ? concat(slots.threads, slots.threads == 1 ? " thread" : " threads")
                                              : concat(slots.gpus_per_job, " of ", slots.gpus.size(), " GPUs");
  log::info(concat("sweep ", record.name, ": ", record.jobs.size(), " jobs, at most ", place.jobs, " at a time, ", each,
                   " each\n", shown_path(folder.path().string())));
  if (task) return registry::run_sweep(folder, jobs, settings);
  return registry::run_sweep(folder, jobs, settings, hooks_of(folder, record, options, jobs, forecast));
}

int run_folder(const Globals& globals, const SweepArguments& arguments, const SweepFolder& folder, bool retry,
               const std::vector<std::string>& only) {
  const registry::RunnerOutcome outcome = run_jobs(globals, arguments, folder, retry, only, "runner");
  const int code = print_sweep(globals, folder);
  if (outcome.signal != 0) return 128 + outcome.signal;
  return outcome.interrupted && code != 8 ? 75 : code;
}

}  // namespace caddie::cli
