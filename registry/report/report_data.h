// What a report shows, out of run folders and sweep folders: runs, the groups they form (a variant with its seeds),
// their training curves, and what went wrong. Read once, changed by nobody; drawing is page.h's.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"
#include "registry/record/run_record.h"

namespace caddie::registry::report {

struct StepPoint {
  double step = 0, loss = 0, rate = 0, tokens_per_second = 0;
  std::optional<double> validation_loss = {};
};

struct ReportRun {
  RunRecord record;
  std::vector<StepPoint> steps;  // metrics.jsonl; empty where there is none
};

// Runs that differ in nothing but the seed.
struct ReportGroup {
  std::string name;
  std::vector<std::size_t> runs;  // into ReportData::runs, by seed
};

struct Incident {
  std::string name, run, status, reason;
  std::size_t attempts = 0;
};

struct CADDIE_API ReportData {
  std::string title, from;  // the sweep's name or the runs'; where it was read
  std::vector<ReportRun> runs;
  std::vector<ReportGroup> groups;
  std::size_t baseline = 0;  // into groups
  std::string metric;        // the score that groups are compared by: "ttt_bpb", ...; empty: none has a score
  std::vector<Incident> incidents;
  std::vector<SkippedFolder> skipped;

  // Values of a group's finished runs by seed.
  std::map<std::int64_t, double> bits_per_byte(const ReportGroup& group, const std::string& metric) const;
  std::map<std::int64_t, double> loss(const ReportGroup& group, const std::string& metric) const;
  // A figure of each finished run of a group; runs without it are left out.
  template <class Figure>
  std::vector<double> figures(const ReportGroup& group, const Figure& figure) const {
    std::vector<double> values;
    for (const std::size_t run : group.runs)
      if (runs[run].record.finished())
        if (const std::optional<double> value = figure(runs[run].record)) values.push_back(*value);
    return values;
  }
  // The first finished run of a group, else its first run.
  const RunRecord& example(const ReportGroup& group) const;
};

struct ReportWanted {
  std::vector<std::string> what;  // sweeps (id, name, folder) and runs (id, beginning, folder); none: every run
  std::string baseline;           // name of a group, or a run; empty: "base", "baseline", else the first
  std::string metric;             // empty: the last score of the chain that all have
};
// Throws Error(usage) for a name that nothing has, and if there is no run at all.
CADDIE_API ReportData load_report(const std::filesystem::path& runs, const ReportWanted& wanted);

// "val_bpb" -> "averaged weights, flat". In the order of the chain.
CADDIE_API const std::vector<std::pair<std::string, std::string>>& score_names();
CADDIE_API std::string score_name(const std::string& metric);

// An entry of a JSON object as a number.
CADDIE_API std::optional<double> number_in(const Json& object, const std::string& key);

}  // namespace caddie::registry::report
