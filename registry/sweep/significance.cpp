#include "registry/sweep/significance.h"

#include <algorithm>
#include <map>
#include <set>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/config/frozen.h"
#include "registry/compare/statistics.h"
#include "registry/sweep/folder.h"
#include "registry/sweep/live.h"

namespace caddie::registry {
namespace {

bool finished(const SweepJob& job) { return job.status == "ok" || job.status == "budget"; }

// The last score in the order of the stages that every finished run has.
std::string common_metric(const SweepRecord& record) {
  for (const char* name : {"ttt_bpb", "sliding_bpb", "roundtrip_bpb", "val_bpb"}) {
    const bool all = std::all_of(record.jobs.begin(), record.jobs.end(), [&](const SweepJob& job) {
      return !finished(job) || metrics_of(record, job).contains(name);
    });
    if (all) return name;
  }
  return "train_loss";
}

// Scores of a variant's finished runs by seed.
std::map<std::int64_t, double> scores_of(const SweepRecord& record, const std::string& variant,
                                         const std::string& metric) {
  std::map<std::int64_t, double> scores;
  for (const SweepJob& job : record.jobs) {
    if (job.variant != variant || !finished(job)) continue;
    const Json metrics = metrics_of(record, job);
    if (metrics.contains(metric) && metrics[metric].is_number()) scores[job.seed] = metrics[metric].get<double>();
  }
  return scores;
}

std::vector<std::string> variants_of(const SweepRecord& record) {
  std::vector<std::string> names;
  for (const SweepJob& job : record.jobs)
    if (std::find(names.begin(), names.end(), job.variant) == names.end()) names.push_back(job.variant);
  return names;
}

}  // namespace

std::vector<Standing> standings(const SweepRecord& record, const SignificanceSettings& settings) {
  const std::string metric = settings.metric.empty() ? common_metric(record) : settings.metric;
  const auto baseline = scores_of(record, settings.baseline, metric);
  std::vector<Standing> rows;
  for (const std::string& variant : variants_of(record)) {
    if (variant == settings.baseline) continue;
    std::vector<double> ours, theirs;
    for (const auto& [seed, score] : scores_of(record, variant, metric))
      if (const auto partner = baseline.find(seed); partner != baseline.end()) {
        theirs.push_back(partner->second);
        ours.push_back(score);
      }
    Standing row{variant, ours.size(), 0, {}, {}, false};
    if (!ours.empty()) {
      const TTest test = paired_t(theirs, ours, settings.confidence);
      row.difference = test.difference;
      row.low = test.low;
      row.high = test.high;
      row.decided = test.low && test.high && (*test.low > 0 || *test.high < 0 || (*test.low == 0 && *test.high == 0));
    }
    rows.push_back(row);
  }
  return rows;
}

MoreJobs one_more_seed(const SweepRecord& record, const SignificanceSettings& settings) {
  MoreJobs more;
  std::set<std::int64_t> seeds;
  for (const SweepJob& job : record.jobs) seeds.insert(job.seed);
  std::set<std::string> wanted;
  for (const Standing& row : standings(record, settings)) {
    if (row.decided) continue;
    // A variant without one good run would not get one from another seed.
    const auto is_good = [&](const SweepJob& job) { return job.variant == row.variant && finished(job); };
    const bool hopeless = std::none_of(record.jobs.begin(), record.jobs.end(), is_good);
    if (hopeless) continue;
    wanted.insert(row.variant);
    more.text += concat(more.text.empty() ? "" : ", ", row.variant);
  }
  if (wanted.empty() || static_cast<int>(seeds.size()) >= settings.max_seeds) return more;
  wanted.insert(settings.baseline);
  const std::int64_t seed = *seeds.rbegin() + 1;
  const SweepFolder folder(record.folder);
  for (const std::string& variant : variants_of(record)) {
    if (!wanted.contains(variant)) continue;
    const auto like = std::find_if(record.jobs.begin(), record.jobs.end(),
                                   [&](const SweepJob& j) { return j.variant == variant; });
    auto manifest = read_frozen(folder.manifest(like->job));
    if (!manifest) throw Error(ErrorKind::data, folder.manifest(like->job).string() + " is missing");
    const std::string text = concat("seed=", seed);
    manifest->resolved["seed"] = seed;
    std::erase_if(manifest->overrides, [](const std::string& o) { return o.starts_with("seed="); });
    manifest->overrides.push_back(text);
    SweepJob job;
    job.variant = variant;
    job.seed = seed;
    job.job = concat(variant, "_s", seed);
    job.overrides = manifest->overrides;
    job.hash = sha256(canonical(manifest->resolved));
    more.jobs.push_back(std::move(job));
    more.manifests.push_back(std::move(*manifest));
  }
  return more;
}

}  // namespace caddie::registry
