#include "registry/sweep/plan.h"

#include <algorithm>
#include <set>

#include "core/base/hash.h"

namespace caddie::registry {
namespace {

const std::vector<std::string>& stages() {
  static const std::vector<std::string> names = {"data", "train", "quantize", "compress", "evaluate", "ttt"};
  return names;
}

// Predicted seconds of one need: its stage's, divided over the stage's needs (evaluate has several).
double seconds_of(const Forecast& forecast, const pipeline::Need& need) {
  const Json seconds = forecast.predicted.value("seconds", Json::object());
  if (!seconds.contains(need.stage)) return 0;
  const auto parts = std::count_if(forecast.needs.begin(), forecast.needs.end(),
                                   [&](const pipeline::Need& n) { return n.stage == need.stage; });
  return seconds[need.stage].get<double>() / static_cast<double>(std::max<std::ptrdiff_t>(1, parts));
}

// One job placed on the time axis; `ready` is when each token is there.
double place(const Forecast& forecast, double start, std::map<std::string, double>& ready, double& work) {
  for (const pipeline::Need& need : forecast.needs) {
    if (need.cached) continue;
    const auto [found, first] = ready.try_emplace(need.token, 0);
    if (first) {
      const double seconds = seconds_of(forecast, need);
      work += seconds;
      start += seconds;
      found->second = start;
    } else {
      start = std::max(start, found->second);
    }
  }
  return start;
}

// When the first thing that the job needs and that others compute is there.
double earliest(const Forecast& forecast, const std::map<std::string, double>& ready) {
  for (const pipeline::Need& need : forecast.needs) {
    if (need.cached) continue;
    const auto found = ready.find(need.token);
    return found == ready.end() ? 0 : found->second;
  }
  return 0;
}

}  // namespace

SweepPlan plan_sweep(const Sweep& sweep, const ComponentSchemas& schemas, const Forecaster& forecast,
                     std::vector<Manifest>& manifests) {
  SweepPlan plan{sweep.name, {}};
  std::set<std::string> names;
  for (const SweepRun& run : expand(sweep)) {
    Manifest manifest = load_manifest(sweep.base, run.overrides, schemas);
    SweepJob job;
    job.variant = run.name;
    job.seed = run.seed;
    job.job = run.name + "_s" + std::to_string(run.seed);
    job.overrides = run.overrides;
    job.hash = sha256(canonical(manifest.resolved));
    CADDIE_ASSERT(names.insert(job.job).second);
    plan.jobs.push_back({std::move(job), run.exclusive, forecast(manifest)});
    manifests.push_back(std::move(manifest));
  }
  return plan;
}

std::vector<StageShare> stage_shares(const SweepPlan& plan) {
  std::vector<StageShare> shares;
  std::set<std::string> seen;
  for (const std::string& stage : stages()) {
    StageShare share{stage};
    for (const PlannedJob& job : plan.jobs) {
      bool any = false, all_cached = true, first = false;
      for (const pipeline::Need& need : job.forecast.needs) {
        if (need.stage != stage) continue;
        any = true;
        all_cached = all_cached && need.cached;
        if (!need.cached) first = seen.insert(need.token).second || first;
      }
      if (!any) continue;
      ++share.runs;
      ++(all_cached ? share.cached : first ? share.computed : share.shared);
    }
    if (share.runs > 0) shares.push_back(share);
  }
  return shares;
}

Timeline timeline(const SweepPlan& plan, int slots) {
  const std::size_t count = plan.jobs.size();
  Timeline line{std::vector<double>(count), std::vector<double>(count), 0};
  std::vector<double> free(static_cast<std::size_t>(std::max(1, slots)), 0.0);
  std::map<std::string, double> ready;
  std::vector<bool> placed(count);
  for (std::size_t n = 0; n < count; ++n) {
    // Jobs that wait for another's stage take no slot: the next one is whichever can start first.
    const auto slot = std::min_element(free.begin(), free.end());
    std::size_t best = count;
    double best_start = 0;
    for (std::size_t j = 0; j < count; ++j) {
      if (placed[j]) continue;
      const double start = std::max(*slot, earliest(plan.jobs[j].forecast, ready));
      if (best == count || start < best_start) {
        best = j;
        best_start = start;
      }
      if (start <= *slot) break;
    }
    placed[best] = true;
    line.end[best] = place(plan.jobs[best].forecast, best_start, ready, line.work[best]);
    if (plan.jobs[best].exclusive)
      for (double& other : free) other = std::max(other, line.end[best]);
    *slot = line.end[best];
    line.total = std::max(line.total, line.end[best]);
  }
  return line;
}

Json plan_json(const SweepPlan& plan, int slots, double hours) {
  const Timeline line = timeline(plan, slots);
  Json jobs = Json::array(), cut = Json::array(), shares = Json::object();
  double work = 0;
  std::int64_t most_bytes = 0, most_memory = 0;
  bool fits = true;
  std::set<std::string> missing;
  for (std::size_t j = 0; j < plan.jobs.size(); ++j) {
    const PlannedJob& job = plan.jobs[j];
    Json needs = Json::array();
    std::map<std::string, bool> cached;
    for (const pipeline::Need& need : job.forecast.needs) {
      const auto [found, first] = cached.try_emplace(need.stage, need.cached);
      if (!first) found->second = found->second && need.cached;
    }
    for (const std::string& stage : stages())
      if (cached.contains(stage)) needs.push_back({{"stage", stage}, {"cached", cached[stage]}});
    const Json& predicted = job.forecast.predicted;
    most_bytes = std::max(most_bytes, predicted.value("artifact_bytes", std::int64_t{0}));
    most_memory = std::max(most_memory, predicted.value("memory_bytes", std::int64_t{0}));
    fits = fits && job.forecast.fits;
    work += line.work[j];
    if (!job.forecast.missing.empty()) missing.insert(job.forecast.missing);
    const bool too_late = hours > 0 && line.end[j] > hours * 3600;
    if (too_late) cut.push_back(job.job.job);
    jobs.push_back({{"job", job.job.job}, {"name", job.job.variant}, {"seed", job.job.seed}, {"hash", job.job.hash},
                    {"exclusive", job.exclusive}, {"stages", needs}, {"seconds", line.work[j]},
                    {"ends_after_seconds", line.end[j]}, {"fits", job.forecast.fits},
                    {"artifact_bytes", predicted.value("artifact_bytes", Json())},
                    {"memory_bytes", predicted.value("memory_bytes", Json())}});
  }
  // What will be computed and has no prediction, each once.
  std::map<std::string, std::set<std::string>> unknown;
  for (const PlannedJob& job : plan.jobs)
    for (const pipeline::Need& need : job.forecast.needs)
      if (!need.cached && need.stage != "data" &&
          !job.forecast.predicted.value("seconds", Json::object()).contains(need.stage))
        unknown[need.stage].insert(need.token);
  Json unpredicted = Json::object();
  for (const auto& [stage, tokens] : unknown) unpredicted[stage] = tokens.size();
  for (const StageShare& share : stage_shares(plan))
    shares[share.stage] = {{"runs", share.runs}, {"cached", share.cached}, {"computed", share.computed},
                           {"shared", share.shared}};
  Json notes = Json::array();
  for (const std::string& note : missing) notes.push_back(note);
  return {{"sweep", plan.name}, {"jobs", jobs}, {"stages", shares}, {"slots", slots}, {"fits", fits}, {"cut", cut},
          {"notes", notes},
          {"predicted", {{"seconds", line.total}, {"work_seconds", work}, {"artifact_bytes_max", most_bytes},
                         {"memory_bytes_max", most_memory}, {"unpredicted", unpredicted}}}};
}

}  // namespace caddie::registry
