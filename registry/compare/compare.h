// Comparing variants over seeds: which runs belong together, whether their scores may be compared at all, and what the
// differences are worth. Lower is better for every metric. The tests themselves are in statistics.h.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/compare/statistics.h"
#include "registry/record/run_record.h"

namespace caddie::registry {

// Runs that differ in nothing but the seed; one a seed, the newest.
struct Group {
  std::string name;
  std::vector<RunRecord> runs;     // by seed
  std::vector<std::string> notes;  // what was left out, and why
};

// What the arguments of `compare` name: run ids, names (all finished runs of that manifest or variant), a sweep (its
// folder or name: all its variants). Throws Error(usage) for what names nothing, with suggestions.
CADDIE_API std::vector<Group> resolve_groups(const std::filesystem::path& runs,
                                             const std::vector<std::string>& arguments);

struct CompareOptions {
  std::string baseline = {};  // a group's name, or an id of one of its runs; empty: the first group
  std::string metric = {};    // empty: the last score that all groups have (ttt_bpb, sliding_bpb, ...)
  std::string unit = "bpb";   // bpb | nats, for scores
  double confidence = 0.95;
  double alpha = 0.01;  // of the power
};

// The challenge's rule: better by at least 0.005 nats a token at p < 0.01, tested one-sided.
inline constexpr double kRuleNats = 0.005;
inline constexpr double kRuleLevel = 0.01;

struct Extent {
  double mean = 0, worst = 0;
};
struct CompareRow {
  std::string name;
  std::vector<std::string> runs;
  std::vector<std::int64_t> seeds;
  double mean = 0;
  std::optional<double> deviation;
  bool is_baseline = false;
  TTest test;  // in `unit`; of the baseline's row empty
  std::optional<double> p_holm;
  std::optional<double> other_difference;  // in the other unit; absent where there is none
  std::optional<double> rule_p;            // one-sided, of "not better by kRuleNats"; absent without nats or seeds
  std::optional<bool> rule_met;
  std::optional<std::int64_t> seeds_needed;  // to tell this difference from 0 at `alpha` with power 0.8
  std::optional<Extent> artifact_bytes, train_seconds, score_seconds;  // evaluate and ttt together
  std::vector<std::string> notes;
};
struct Comparison {
  std::string metric, unit, other_unit;  // "bpb" | "nats" | "" for what is no score
  std::string baseline;
  double confidence = 0.95;
  std::vector<CompareRow> rows;  // the baseline first, the others in the order of the groups
  std::vector<std::string> notes;
};

// Throws Error(usage) for one group alone, an unknown baseline or metric, and for scores that are not of the same text
// and the same number of bytes: such a comparison says nothing.
CADDIE_API Comparison compare(const std::vector<Group>& groups, const CompareOptions& options);

CADDIE_API Json to_json(const Comparison& comparison);
CADDIE_API std::string to_csv(const Comparison& comparison);
CADDIE_API std::string to_markdown(const Comparison& comparison);
// For a terminal, with the rule's verdicts and notes below.
CADDIE_API std::string to_text(const Comparison& comparison);

}  // namespace caddie::registry
