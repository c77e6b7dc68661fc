// caddie run, caddie plan.
#include <memory>
#include <sstream>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/trace.h"
#include "core/pipeline/plan.h"
#include "core/pipeline/ranks.h"
#include "core/pipeline/run.h"
#include "tools/cli/ranks.h"
#include "tools/cli/session.h"
#include "tools/cli/summary.h"

namespace caddie::cli {
namespace {

struct RunArguments {
  std::string manifest;
  std::vector<std::string> overrides;
  std::string from, until, resume, id, seeds, profile;
  bool no_cache = false, offline = false;
  RankArguments ranks;
};

std::vector<std::string> split_seeds(const std::string& text) {
  std::vector<std::string> seeds;
  std::istringstream in(text);
  for (std::string seed; std::getline(in, seed, ',');) {
    if (seed.empty() || seed.find_first_not_of("0123456789") != std::string::npos)
      throw Error(ErrorKind::usage, "--seeds is '" + text + "'", "accepted: whole numbers with commas between, --seeds 1,2,3");
    seeds.push_back(seed);
  }
  return seeds;
}

// Throws the run's error after its result was printed.
void run_once(const Globals& globals, const RunArguments& arguments, const std::vector<std::string>& overrides, Group* group) {
  const pipeline::Session session = make_session(globals, arguments.manifest, overrides, {group != nullptr ? group->size() : 1, group});
  if (session.rank() != 0) return pipeline::follow(session);
  pipeline::RunOptions options;
  options.runs = globals.runs;
  options.cache = globals.cache;
  options.from = arguments.from;
  options.until = arguments.until;
  options.no_cache = arguments.no_cache;
  options.offline = arguments.offline;
  options.resume = arguments.resume;
  options.id = arguments.id;
  const pipeline::RunOutcome outcome = pipeline::run(session, options);
  const bool finished = !outcome.error || outcome.error->kind() == ErrorKind::budget;
  print_result(globals, canonical(outcome.result), finished ? run_summary(outcome.result, outcome.more, arguments.manifest) : "");
  if (!outcome.error) return;
  if (outcome.error->kind() == ErrorKind::interrupted)
    log::info("go on with: caddie run " + arguments.manifest + " --resume " + outcome.result.at("run").get<std::string>());
  throw *outcome.error;
}

// Records a trace until the end of the command, however it ends.
class Profile {
 public:
  explicit Profile(const RunArguments& arguments) : arguments_(arguments) {
    if (arguments.profile.empty()) return;
    write_atomic(arguments.profile, "");  // a place that cannot be written is found now, not after an hour
    trace::start();
    trace::name_thread("main");
  }
  ~Profile() {
    if (arguments_.profile.empty()) return;
    try {
      trace::write(arguments_.profile, {{"manifest", arguments_.manifest}, {"overrides", arguments_.overrides}});
      log::info("trace: " + arguments_.profile + "   open it at https://ui.perfetto.dev or chrome://tracing");
    } catch (const std::exception& error) {
      log::warning(concat("no trace was written: ", error.what()));
    }
  }
  Profile(const Profile&) = delete;

 private:
  const RunArguments arguments_;
};

int run_here(const Globals& globals, const RunArguments& arguments, Group* group) {
  const Profile profile(group == nullptr || group->rank() == 0 ? arguments : RunArguments{});
  std::vector<std::string> given = arguments.overrides;
  for (const std::string& more : rank_overrides(arguments.ranks)) given.push_back(more);
  if (arguments.seeds.empty()) {
    run_once(globals, arguments, given, group);
    return 0;
  }
  if (!arguments.resume.empty() || !arguments.id.empty())
    throw Error(ErrorKind::usage, "--seeds excludes --resume and --id: there are several runs");
  for (const std::string& seed : split_seeds(arguments.seeds)) {
    std::vector<std::string> overrides = given;
    overrides.push_back("seed=" + seed);
    run_once(globals, arguments, overrides, group);
  }
  return 0;
}

int run_command(const Globals& globals, const RunArguments& arguments) {
  const auto check = [&](int ranks) { make_session(globals, arguments.manifest, arguments.overrides, {ranks, nullptr}); };
  return with_ranks(arguments.ranks, check, [&](Group* group) { return run_here(globals, arguments, group); });
}

std::string plan_text(const Json& plan) {
  std::string text;
  if (!plan.at("parameters").is_null()) text += "parameters  " + with_commas(plan.at("parameters")) + "\n\n";
  const Json& predicted = plan.at("predicted");
  const Json seconds = predicted.value("seconds", Json::object());
  std::vector<std::vector<std::string>> rows = {{"stage", "cache", "seconds", "key"}};
  for (const Json& stage : plan.at("stages")) {
    const std::string name = stage.at("stage");
    const bool known = !stage.at("key").is_null();
    rows.push_back({name, stage.at("cached").get<bool>() ? "hit" : known ? "miss" : "not known yet",
                    seconds.contains(name) ? human_seconds(seconds[name].get<double>()) : "",
                    known ? stage.at("key").get<std::string>().substr(0, 12) : ""});
  }
  text += table(rows);
  if (predicted.contains("memory_bytes")) {
    std::vector<std::vector<std::string>> figures;
    if (predicted.contains("artifact_bytes")) {
      figures.push_back({"artifact, bytes", with_commas(predicted["artifact_bytes"])});
      figures.push_back({"compressed source, bytes", with_commas(predicted["code_bytes"])});
    }
    figures.push_back({"seconds a step", fixed(predicted["step_seconds"].get<double>(), 3)});
    figures.push_back({"memory, MB", with_commas(predicted["memory_bytes"].get<std::int64_t>() / 1000000)});
    figures.push_back({"fits", plan.at("fits").get<bool>() ? "yes" : "no"});
    text += "\npredicted\n" + table(figures);
  }
  for (const Json& note : plan.at("notes")) text += "\nnote: " + note.get<std::string>() + "\n";
  return text;
}

bool work_pending(const Json& plan) {
  for (const Json& stage : plan.at("stages"))
    if (!stage.at("cached").get<bool>()) return true;
  return false;
}

}  // namespace

void add_run_commands(Command& root) {
  auto arguments = std::make_shared<RunArguments>();
  auto run = root.add("run", "One run: plan, stages, verdicts",
                      "Examples:\n"
                      "  caddie run experiments/quickstart.yaml\n"
                      "  caddie run experiments/quickstart.yaml compress.use=store --json\n"
                      "  caddie run experiments/quickstart.yaml 'optimizers[match=matrix].learning_rate=0.03' --until train\n"
                      "  caddie run experiments/quickstart.yaml --ranks 2\n"
                      "  torchrun --nproc-per-node 8 --no-python build-cuda/bin/caddie run experiments/reference.yaml\n");
  run.argument("manifest", arguments->manifest, "The manifest");
  run.arguments("overrides", arguments->overrides, "Changes, key.path=value");
  run.option("--seeds", arguments->seeds, "One run for each seed: 1,2,3");
  run.option("--from", arguments->from, "Compute this stage and later ones, whatever the cache holds");
  run.option("--until", arguments->until, "The last stage to run");
  run.flag("--no-cache", arguments->no_cache, "Compute every stage");
  run.flag("--offline", arguments->offline, "No download: a dataset that is not on this machine is exit 6");
  run.option("--resume", arguments->resume, "Go on with a run that was interrupted (its id or folder)");
  run.option("--id", arguments->id, "Name of the run's folder; if it is there already, go on with it");
  run.option("--profile", arguments->profile, "Write a trace of where the time goes, for Perfetto or chrome://tracing");
  add_rank_options(run, arguments->ranks);
  run.run([arguments](const Globals& globals) { return run_command(globals, *arguments); });

  struct PlanArguments {
    std::string manifest;
    std::vector<std::string> overrides;
    bool detailed = false;
    RankArguments ranks;
  };
  auto wanted = std::make_shared<PlanArguments>();
  auto plan = root.add("plan", "What a run would do and take; runs nothing",
                       "Example:\n  caddie plan experiments/quickstart.yaml\n");
  plan.argument("manifest", wanted->manifest, "The manifest");
  plan.arguments("overrides", wanted->overrides, "Changes, key.path=value");
  plan.flag("--detailed-exitcode", wanted->detailed, "Exit with 3 if a stage would be computed");
  plan.option("--ranks", wanted->ranks.ranks, "As it would be with N ranks on the CPU");
  plan.option("--gpus", wanted->ranks.gpus, "As it would be with N ranks on a GPU each");
  plan.run([wanted](const Globals& globals) {
    std::vector<std::string> overrides = wanted->overrides;
    for (const std::string& more : rank_overrides(wanted->ranks)) overrides.push_back(more);
    const pipeline::Session session = make_session(globals, wanted->manifest, overrides, {wanted_ranks(wanted->ranks), nullptr});
    const Json result = pipeline::plan(session, globals.cache);
    print_result(globals, canonical(result), plan_text(result));
    return wanted->detailed && work_pending(result) ? 3 : 0;
  });
}

}  // namespace caddie::cli
