// caddie sweep plan | run | resume | retry | status | wait | cancel | list.
#include "tools/cli/sweep.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "core/base/suggest.h"
#include "core/pipeline/cache.h"
#include "registry/sweep/child.h"
#include "registry/sweep/live.h"
#include "registry/sweep/lock.h"
#include "registry/sweep/result.h"
#include "registry/sweep/slurm.h"

namespace caddie::cli {
namespace fs = std::filesystem;
namespace {

using Arguments = std::shared_ptr<SweepArguments>;
using registry::SweepFolder;

std::string plan_text(const Json& plan, const std::string& next, double hours) {
  std::string text = concat(plan.at("sweep").get<std::string>(), ": ", plan.at("jobs").size(), " jobs, ",
                            plan.at("slots").dump(), " at a time\n\n");
  std::vector<std::vector<std::string>> rows = {{"stage", "jobs", "in the cache", "to compute", "shared"}};
  for (const char* stage : {"data", "train", "quantize", "compress", "evaluate", "ttt"}) {
    if (!plan.at("stages").contains(stage)) continue;
    const Json& s = plan["stages"][stage];
    rows.push_back({stage, s.at("runs").dump(), s.at("cached").dump(), s.at("computed").dump(), s.at("shared").dump()});
  }
  text += table(rows) + "\n";
  rows = {{"job", "seconds", "bytes", "fits", ""}};
  for (const Json& job : plan.at("jobs")) {
    bool cut = false;
    for (const Json& name : plan.at("cut")) cut = cut || name == job.at("job");
    rows.push_back({job.at("job"), human_seconds(job.at("seconds").get<double>()),
                    job.at("artifact_bytes").is_null() ? "" : with_commas(job["artifact_bytes"]),
                    job.at("fits").get<bool>() ? "yes" : "no", cut ? "cut" : ""});
  }
  const Json& predicted = plan.at("predicted");
  text += table(rows) + "\npredicted  " + human_seconds(predicted.at("seconds").get<double>()) + " on this machine, " +
          human_seconds(predicted.at("work_seconds").get<double>()) +
          " of work\n";
  std::string unknown;
  for (const char* stage : {"train", "quantize", "compress", "evaluate", "ttt"})
    if (predicted.at("unpredicted").contains(stage))
      unknown += concat(unknown.empty() ? "" : ", ", predicted["unpredicted"][stage].dump(), " x ", stage);
  if (!unknown.empty()) text += "           without " + unknown + ": known when something alike has run here\n";
  if (hours > 0) text += concat("a budget of ", hours, " h cuts ", plan.at("cut").size(), " jobs\n");
  for (const Json& note : plan.at("notes")) text += "note: " + note.get<std::string>() + "\n";
  return text + "\nnext\n  " + next + "\n";
}

int plan_command(const Globals& globals, const SweepArguments& arguments) {
  const PlannedSweep planned = plan_file(globals, arguments, true);
  std::vector<registry::Forecast> forecasts;
  for (const auto& job : planned.plan.jobs) forecasts.push_back(job.forecast);
  const Json plan = registry::plan_json(planned.plan, placement(arguments, forecasts).jobs, arguments.hours);
  std::string next = invoked() + " sweep run " + arguments.file;
  for (const std::string& word : arguments.words)
    next += word.find_first_of(" []{}*'\"$&;|<>()") == std::string::npos ? " " + word : " '" + word + "'";
  if (!arguments.seeds.empty()) next += " --seeds " + arguments.seeds;
  if (arguments.jobs > 0) next += concat(" --jobs ", arguments.jobs);
  if (arguments.threads > 0) next += concat(" --threads ", arguments.threads);
  if (arguments.gpus > 0) next += concat(" --gpus ", arguments.gpus);
  print_result(globals, canonical(plan), plan_text(plan, next + same_folders(globals, true), arguments.hours));
  return 0;
}

// What every runner of the sweep is to know, wherever it is started from.
Json options_of(const Globals& globals, const SweepArguments& arguments) {
  Json dirs = Json::array();
  for (const std::string& dir : globals.plugin_dirs) dirs.push_back(fs::absolute(dir).lexically_normal().string());
  const fs::path cache = globals.cache.empty() ? pipeline::StageCache::default_root() : fs::path(globals.cache);
  Json options = {{"cache", fs::absolute(cache).lexically_normal().string()}, {"plugin_dirs", dirs},
                  {"until", arguments.until}, {"gpus", arguments.gpus}};
  if (arguments.halving) options["halving"] = true;
  if (arguments.until_significant) options["max_seeds"] = arguments.max_seeds > 0 ? arguments.max_seeds : 10;
  if (!arguments.baseline.empty()) options["baseline"] = arguments.baseline;
  return options;
}

void check_options(const SweepArguments& arguments, const registry::SweepPlan& plan) {
  if (arguments.launcher != "local" && arguments.launcher != "slurm")
    throw Error(ErrorKind::usage, "--launcher is '" + arguments.launcher + "'", "accepted: local, slurm");
  if (arguments.launcher == "slurm" && (arguments.halving || arguments.until_significant))
    throw Error(ErrorKind::usage, "--halving and --until-significant need a runner that stays: --launcher local");
  if (arguments.max_seeds > 0 && !arguments.until_significant)
    throw Error(ErrorKind::usage, "--max-seeds belongs to --until-significant");
  std::vector<std::string> names;
  for (const auto& job : plan.jobs) names.push_back(job.job.variant);
  if (arguments.baseline.empty() || std::find(names.begin(), names.end(), arguments.baseline) != names.end()) return;
  const std::string guess = closest(arguments.baseline, names);
  throw Error(ErrorKind::usage, "--baseline is '" + arguments.baseline + "', which is no variant of the sweep",
              guess.empty() ? "caddie sweep plan lists them." : "Did you mean '" + guess + "'?");
}

int run_command(const Globals& globals, const SweepArguments& arguments) {
  const PlannedSweep planned = plan_file(globals, arguments, false);
  for (const auto& job : planned.plan.jobs)
    if (!job.forecast.missing.empty())
      throw Error(ErrorKind::data, job.forecast.missing, "caddie sweep plan shows what is there.");
  check_options(arguments, planned.plan);
  const bool slurm = arguments.launcher == "slurm";
  const Json options = options_of(globals, arguments);
  auto folder = arguments.fresh ? std::nullopt : registry::find_unfinished(globals.runs, planned.plan, options);
  if (folder)
    log::info("going on with " + folder->id() + ", which is the same sweep and not finished (--new starts it afresh)");
  else
    folder = registry::create_sweep(globals.runs, planned.sweep, planned.plan, planned.manifests, options);
  return (slurm ? submit_folder : run_folder)(globals, arguments, *folder, false, {});
}

int resume_command(const Globals& globals, const SweepArguments& arguments, bool retry) {
  std::vector<std::string> words = arguments.words;
  const SweepFolder folder = take_sweep(globals, words);
  if (!retry && !words.empty()) throw Error(ErrorKind::usage, "sweep resume takes one sweep, given: " + words.front());
  if (registry::is_slurm(folder)) return submit_folder(globals, arguments, folder, retry, words);
  return run_folder(globals, arguments, folder, retry, words);
}

Json status_json(const registry::SweepRecord& record) {
  Json jobs = Json::array(), counts = Json::object();
  for (const registry::SweepJob& job : record.jobs) {
    counts[job.status] = counts.value(job.status, 0) + 1;
    Json attempts = Json::array();
    for (const auto& a : job.attempts)
      attempts.push_back({{"run", a.run}, {"exit_code", a.exit_code}, {"reason", a.reason}, {"started", a.started},
                          {"seconds", a.seconds}});
    jobs.push_back({{"job", job.job}, {"name", job.variant}, {"seed", job.seed}, {"status", job.status},
                    {"run", job.run.empty() ? Json() : Json(job.run)}, {"note", job.note}, {"attempts", attempts},
                    {"metrics", registry::metrics_of(record, job)}});
  }
  return {{"sweep", record.name}, {"id", record.id}, {"directory", record.folder.string()}, {"counts", counts},
          {"jobs", jobs}};
}

int status_command(const Globals& globals, const SweepArguments& arguments) {
  std::vector<std::string> words = arguments.words;
  const SweepFolder folder = take_sweep(globals, words);
  if (globals.json) {
    const auto record = registry::with_slurm_states(registry::load_sweep_record(folder.path()));
    print_result(globals, canonical(status_json(record)), "");
    return 0;
  }
  print_sweep(globals, folder);
  return 0;
}

bool is_open(const registry::SweepRecord& record) {
  if (registry::is_slurm(SweepFolder(record.folder))) return !registry::slurm_queue(record).empty();
  for (const registry::SweepJob& job : record.jobs)
    if (job.status == "running") return true;
  return registry::FileLock::is_held(SweepFolder(record.folder).runner_lock());
}

int wait_command(const Globals& globals, const SweepArguments& arguments) {
  std::vector<std::string> words = arguments.words;
  const SweepFolder folder = take_sweep(globals, words);
  while (is_open(registry::load_sweep_record(folder.path()))) {
    throw_if_interrupted();
    std::this_thread::sleep_for(std::chrono::milliseconds(registry::is_slurm(folder) ? 2000 : 200));
  }
  return print_sweep(globals, folder);
}

int cancel_command(const Globals& globals, const SweepArguments& arguments) {
  std::vector<std::string> words = arguments.words;
  const SweepFolder folder = take_sweep(globals, words);
  const registry::SweepRecord record = registry::load_sweep_record(folder.path());
  check_jobs(record, words);
  std::vector<std::string> cancelled, tasks;
  const auto queue = registry::slurm_queue(record);
  make_directories(folder.path() / "requests");
  for (registry::SweepJob job : record.jobs) {
    const bool named = words.empty() || std::find(words.begin(), words.end(), job.job) != words.end();
    if (!named || !(job.status == "pending" || job.status == "running" || job.status == "interrupted")) continue;
    write_atomic(folder.request(job.job), std::string_view("cancelled\n"));
    cancelled.push_back(job.job);
    if (const auto task = queue.find(job.job); task != queue.end()) tasks.push_back(task->second.first);
    if (registry::FileLock::is_held(folder.runner_lock())) continue;  // the runner does the rest
    if (job.status == "running")
      registry::signal_group(std::atoi(registry::FileLock::read(folder.job_lock(job.job)).c_str()), SIGINT);
    job.status = "cancelled";
    job.note = "cancelled";
    folder.write_state(job);
  }
  registry::slurm_cancel(tasks);
  print_result(globals, canonical(Json{{"sweep", record.name}, {"id", record.id}, {"cancelled", cancelled}}),
               concat(cancelled.size(), " jobs of ", record.id, " cancelled; caddie sweep retry starts them again\n"));
  return 0;
}

int list_command(const Globals& globals) {
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows = {{"sweep", "jobs", "state"}};
  for (const fs::path& folder : registry::list_sweeps(globals.runs)) {
    const registry::SweepRecord record = registry::load_sweep_record(folder);
    Json facts = status_json(record);
    facts.erase("jobs");
    list.push_back(std::move(facts));
    rows.push_back({record.id, std::to_string(record.jobs.size()), registry::status_counts(record)});
  }
  print_result(globals, canonical(Json{{"sweeps", list}}),
               list.empty() ? "no sweeps in " + fs::absolute(fs::path(globals.runs) / "sweeps").string() + "\n"
                            : table(rows));
  return 0;
}

void add_runner_options(Command& command, const Arguments& arguments) {
  command.option("--jobs", arguments->jobs, "Runs at a time; default: as many as fit the cores, or the GPUs")
      .option("--threads", arguments->threads, "CPU threads a run; default: the cores, divided")
      .option("--retries", arguments->retries, "Start a failed run again, so many times")
      .flag("--fail-fast", arguments->fail_fast, "The first failure stops the others (they can be resumed)")
      .option("--max-failures", arguments->max_failures, "After so many failures no more runs are started")
      .option("--slurm", arguments->slurm, "With Slurm: an option of sbatch, KEY=VALUE (repeatable)")
      .flag("--print-script", arguments->print_script, "With Slurm: print the batch script, submit nothing");
}

}  // namespace

void add_sweep_commands(Command& root) {
  Command sweep = root.add("sweep", "Many runs: one process each, shared stages computed once",
                           "From a manifest to a result:\n"
                           "  caddie sweep plan experiments/sweeps/quick.yaml\n"
                           "  caddie sweep run experiments/sweeps/quick.yaml\n"
                           "  caddie sweep status                         in another terminal, or later\n"
                           "  caddie sweep resume                         after an interruption of any kind\n"
                           "  caddie compare quick                        differences with intervals and tests\n"
                           "  caddie report quick -o quick.html           tables and plots on one page\n");
  auto planned = std::make_shared<SweepArguments>();
  Command plan = sweep.add("plan", "Jobs, the stages that they share, predicted time and bytes; runs nothing",
                           "Example:\n  caddie sweep plan experiments/sweeps/quick.yaml --hours 2\n");
  plan.argument("sweep", planned->file, "The sweep manifest")
      .arguments("overrides", planned->words, "Changes for every run, key.path=value; seeds=[1,2]")
      .option("--seeds", planned->seeds, "In place of the sweep's: 1,2,3")
      .option("--hours", planned->hours, "Say what a budget of so many hours would cut")
      .option("--jobs", planned->jobs, "Runs at a time")
      .option("--threads", planned->threads, "CPU threads a run")
      .option("--gpus", planned->gpus, "GPUs a run");
  plan.run([planned](const Globals& globals) { return plan_command(globals, *planned); });

  auto started = std::make_shared<SweepArguments>();
  Command run = sweep.add("run", "Run a sweep; the same sweep, if it is not finished, goes on",
                          "Ctrl-C once: runs write checkpoints, exit 75, caddie sweep resume goes on. Twice: stop at once.\n"
                          "Exit codes: 0 all ok, 8 some failed, 5 some over a budget, 75 interrupted.\n"
                          "Examples:\n"
                          "  caddie sweep run experiments/sweeps/quick.yaml\n"
                          "  caddie sweep run experiments/sweeps/quick.yaml --jobs 1 --retries 1 train.stop.steps=50\n"
                          "  caddie sweep run experiments/sweeps/quick.yaml --launcher slurm --slurm time=00:30:00\n");
  run.argument("sweep", started->file, "The sweep manifest")
      .arguments("overrides", started->words, "Changes for every run, key.path=value; seeds=[1,2]")
      .option("--seeds", started->seeds, "In place of the sweep's: 1,2,3")
      .option("--until", started->until, "The last stage of every run")
      .option("--gpus", started->gpus, "GPUs a run; more than one: a rank on each")
      .flag("--new", started->fresh, "Start afresh, whatever is unfinished")
      .flag("--until-significant", started->until_significant,
            "Add seeds until every difference from the baseline is decided (99 % intervals), up to --max-seeds")
      .option("--max-seeds", started->max_seeds, "The cap of --until-significant; default 10")
      .flag("--halving", started->halving,
            "Stop runs whose loss is in the worse half at a quarter or at half of the training")
      .option("--baseline", started->baseline, "The variant that the others are compared with; default: the first")
      .option("--launcher", started->launcher, "local, or slurm: submit an array and return");
  add_runner_options(run, started);
  run.run([started](const Globals& globals) { return run_command(globals, *started); });

  auto resumed = std::make_shared<SweepArguments>();
  Command resume = sweep.add("resume", "Go on with a sweep that was stopped or killed",
                             "Example:\n  caddie sweep resume\n");
  resume.arguments("sweep", resumed->words, "Its folder, id, the beginning of its id, or its name; default: the latest");
  add_runner_options(resume, resumed);
  resume.run([resumed](const Globals& globals) { return resume_command(globals, *resumed, false); });

  auto retried = std::make_shared<SweepArguments>();
  Command retry = sweep.add("retry", "Start failed and cancelled jobs again",
                            "Examples:\n  caddie sweep retry\n  caddie sweep retry quick rows_s1\n");
  retry.arguments("sweep", retried->words, "[SWEEP] [JOB...]; default: all that failed in the latest sweep");
  add_runner_options(retry, retried);
  retry.run([retried](const Globals& globals) { return resume_command(globals, *retried, true); });

  auto shown = std::make_shared<SweepArguments>();
  Command status = sweep.add("status", "How far a sweep is");
  status.arguments("sweep", shown->words, "Default: the latest");
  status.run([shown](const Globals& globals) { return status_command(globals, *shown); });

  auto waited = std::make_shared<SweepArguments>();
  Command wait = sweep.add("wait", "Wait until a sweep that runs elsewhere has ended, and print its result");
  wait.arguments("sweep", waited->words, "Default: the latest");
  wait.run([waited](const Globals& globals) { return wait_command(globals, *waited); });

  auto stopped = std::make_shared<SweepArguments>();
  Command cancel = sweep.add("cancel", "Stop a sweep, or some of its jobs");
  cancel.arguments("sweep", stopped->words, "[SWEEP] [JOB...]; default: all of the latest sweep");
  cancel.run([stopped](const Globals& globals) { return cancel_command(globals, *stopped); });

  struct Task {
    std::string folder;
    std::int64_t place = -1;
  };
  auto task = std::make_shared<Task>();
  auto task_arguments = std::make_shared<SweepArguments>();
  sweep.add("task", "One job of a sweep, as a task of a batch system (what the script of --launcher slurm calls)")
      .argument("folder", task->folder, "The sweep's folder")
      .option("--place", task->place, "The job's place in the plan, from 0")
      .option("--retries", task_arguments->retries, "Start a failed run again, so many times")
      .run([=](const Globals& globals) { return task_command(globals, *task_arguments, task->folder, task->place); });

  sweep.add("list", "All sweeps").run([](const Globals& globals) { return list_command(globals); });
}

}  // namespace caddie::cli
