#include "registry/report/report_data.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/sweep/record.h"

namespace caddie::registry::report {
namespace fs = std::filesystem;
namespace {

// A line that a crash tore, and lines of other kinds, are passed over.
std::vector<StepPoint> read_steps(const fs::path& path) {
  std::vector<StepPoint> steps;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto step = number_in(json, "step"), loss = number_in(json, "train_loss"),
               validation = number_in(json, "val_loss");
    if (!step || (!loss && !validation)) continue;
    if (!steps.empty() && steps.back().step == *step && !loss) {
      steps.back().validation_loss = validation;
      continue;
    }
    steps.push_back({*step, loss.value_or(std::numeric_limits<double>::quiet_NaN()),
                     number_in(json, "rate_factor").value_or(0), number_in(json, "tokens_per_second").value_or(0),
                     validation});
  }
  return steps;
}

class Loader {
 public:
  Loader(const fs::path& runs, const ReportWanted& wanted) : runs_(runs), wanted_(wanted) {}

  ReportData load() {
    if (wanted_.what.empty()) all_runs();
    for (const std::string& what : wanted_.what) {
      if (is_sweep_name(runs_, what)) sweep(find_sweep(runs_, what));
      else run(find_run(runs_, what));
    }
    CADDIE_CHECK(!data_.groups.empty() || !data_.incidents.empty(), ErrorKind::usage, "there is no run in ",
                 fs::absolute(runs_).string());
    for (ReportGroup& group : data_.groups)
      std::stable_sort(group.runs.begin(), group.runs.end(), [&](std::size_t a, std::size_t b) {
        return data_.runs[a].record.seed < data_.runs[b].record.seed;
      });
    if (data_.title.empty())
      data_.title = wanted_.what.empty() ? "All runs" : data_.groups.size() == 1 ? data_.groups[0].name : "Runs";
    data_.from = fs::absolute(runs_).lexically_normal().string();
    data_.baseline = baseline();
    data_.metric = metric();
    return std::move(data_);
  }

 private:
  void all_runs() {
    RunScan scan = scan_runs(runs_);
    data_.skipped = std::move(scan.skipped);
    for (RunRecord& record : scan.runs) add(std::move(record), {});
  }

  void run(const fs::path& folder) { add(load_run(folder), {}); }

  void sweep(const fs::path& folder) {
    const SweepRecord record = load_sweep_record(folder);
    data_.title += (data_.title.empty() ? "" : ", ") + record.name;
    for (const SweepJob& job : record.jobs) {
      if (job.run.empty()) {
        if (job.status != "pending")
          data_.incidents.push_back({job.job, "", job.status, reason_of(job), job.attempts.size()});
        else data_.incidents.push_back({job.job, "", "pending", "not started", 0});
        continue;
      }
      try {
        RunRecord loaded = load_run(find_run(record.runs, job.run));
        if (job.status != "ok") loaded.status = job.status;
        add(std::move(loaded), record.id, &job);
      } catch (const Error& error) {
        data_.incidents.push_back({job.job, job.run, "not readable", error.message(), job.attempts.size()});
      }
    }
  }

  static std::string reason_of(const SweepJob& job) {
    if (!job.note.empty()) return job.note;
    return job.attempts.empty() ? std::string() : job.attempts.back().reason;
  }

  void add(RunRecord record, const std::string& sweep, const SweepJob* job = nullptr) {
    const bool known = std::any_of(data_.runs.begin(), data_.runs.end(),
                                   [&](const ReportRun& other) { return other.record.folder == record.folder; });
    if (known) return;
    const std::string status = record.shown_status();
    if (status != "ok") {
      const std::string reason = !record.error.empty() ? record.error : job != nullptr ? reason_of(*job) : "";
      const std::string where = record.stage.empty() ? "" : "in " + record.stage;
      data_.incidents.push_back({job != nullptr ? job->job : concat(record.name, ", seed ", record.seed), record.id,
                                 status, reason.empty() ? where : reason, job != nullptr ? job->attempts.size() : 1});
    }
    const std::string variant = job != nullptr ? job->variant : std::string();
    const std::string key = job != nullptr ? concat("sweep ", sweep, " ", variant) : record.group();
    const auto [place, fresh] = by_key_.try_emplace(key, data_.groups.size());
    if (fresh) data_.groups.push_back({unused_name(variant.empty() ? record.name : variant, record), {}});
    data_.groups[place->second].runs.push_back(data_.runs.size());
    ReportRun run{std::move(record), {}};
    run.steps = read_steps(run.record.folder / "metrics.jsonl");
    data_.runs.push_back(std::move(run));
  }

  // Manifests of one name that differ are told apart by their overrides, else by a number.
  std::string unused_name(const std::string& name, const RunRecord& record) const {
    const auto used = [&](const std::string& candidate) {
      return std::any_of(data_.groups.begin(), data_.groups.end(),
                         [&](const ReportGroup& group) { return group.name == candidate; });
    };
    if (!used(name)) return name;
    std::string longer = name;
    for (const std::string& change : record.overrides)
      if (!change.starts_with("seed=")) longer += " " + change;
    if (!used(longer)) return longer;
    for (int number = 2;; ++number)
      if (!used(concat(longer, " (", number, ")"))) return concat(longer, " (", number, ")");
  }

  std::size_t baseline() const {
    const auto named = [&](const std::string& name) -> std::optional<std::size_t> {
      for (std::size_t i = 0; i < data_.groups.size(); ++i) {
        if (data_.groups[i].name == name) return i;
        for (const std::size_t run : data_.groups[i].runs)
          if (data_.runs[run].record.id == name) return i;
      }
      return std::nullopt;
    };
    if (wanted_.baseline.empty()) return named("base").value_or(named("baseline").value_or(0));
    if (const auto found = named(wanted_.baseline)) return *found;
    std::string names;
    for (const ReportGroup& group : data_.groups) names += (names.empty() ? "" : ", ") + group.name;
    throw Error(ErrorKind::usage, concat("there is no '", wanted_.baseline, "' in this report"),
                "Accepted: " + names + ".");
  }

  // The score that most groups have; of those the last one of the chain.
  std::string metric() const {
    if (!wanted_.metric.empty()) {
      for (const auto& [name, text] : score_names())
        if (name == wanted_.metric) return name;
      throw Error(ErrorKind::usage, concat("unknown score '", wanted_.metric, "'"),
                  "accepted: last_step_bpb, val_bpb, roundtrip_bpb, sliding_bpb, ttt_bpb");
    }
    std::string best;
    std::size_t most = 0;
    for (const auto& [name, text] : score_names()) {
      std::size_t count = 0;
      for (const ReportGroup& group : data_.groups) count += data_.bits_per_byte(group, name).empty() ? 0 : 1;
      if (count > 0 && count >= most) {
        most = count;
        best = name;
      }
    }
    return best;
  }

  const fs::path& runs_;
  const ReportWanted& wanted_;
  ReportData data_;
  std::map<std::string, std::size_t> by_key_;
};

}  // namespace

const std::vector<std::pair<std::string, std::string>>& score_names() {
  static const std::vector<std::pair<std::string, std::string>> names = {{"last_step_bpb", "last step's weights, flat"},
                                                                         {"val_bpb", "averaged weights, flat"},
                                                                         {"roundtrip_bpb", "artifact, flat"},
                                                                         {"sliding_bpb", "artifact, sliding"},
                                                                         {"ttt_bpb", "artifact, score-first TTT"}};
  return names;
}

std::string score_name(const std::string& metric) {
  for (const auto& [name, text] : score_names())
    if (name == metric) return text;
  return metric;
}

std::optional<double> number_in(const Json& object, const std::string& key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? std::optional<double>(found->get<double>()) : std::nullopt;
}

std::map<std::int64_t, double> ReportData::bits_per_byte(const ReportGroup& group, const std::string& metric) const {
  std::map<std::int64_t, double> values;
  for (const std::size_t run : group.runs) {
    const RunRecord& record = runs[run].record;
    if (const auto value = number_in(record.metrics, metric); value && record.finished()) values[record.seed] = *value;
  }
  return values;
}

std::map<std::int64_t, double> ReportData::loss(const ReportGroup& group, const std::string& metric) const {
  std::map<std::int64_t, double> values;
  for (const std::size_t run : group.runs) {
    const RunRecord& record = runs[run].record;
    const auto score = record.scores.find(metric);
    if (record.finished() && score != record.scores.end()) values[record.seed] = score->second.loss;
  }
  return values;
}

const RunRecord& ReportData::example(const ReportGroup& group) const {
  for (const std::size_t run : group.runs)
    if (runs[run].record.finished()) return runs[run].record;
  return runs[group.runs.front()].record;
}

ReportData load_report(const fs::path& runs, const ReportWanted& wanted) { return Loader(runs, wanted).load(); }

}  // namespace caddie::registry::report
