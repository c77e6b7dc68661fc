#include "registry/compare/compare.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "caddie/error.h"
#include "core/base/suggest.h"

namespace caddie::registry {
namespace {

constexpr double kPower = 0.8;

// From the end of a run to its beginning: the score that counts comes first.
const std::vector<std::string>& score_order() {
  static const std::vector<std::string> order = {"ttt_bpb", "sliding_bpb", "roundtrip_bpb", "val_bpb", "last_step_bpb"};
  return order;
}

bool is_score(const std::string& metric) {
  return std::find(score_order().begin(), score_order().end(), metric) != score_order().end();
}

std::optional<double> figure(const RunRecord& run, const std::string& metric, const std::string& unit) {
  if (is_score(metric)) {
    const auto score = run.scores.find(metric);
    if (score == run.scores.end()) return std::nullopt;
    return unit == "nats" ? score->second.loss : score->second.bits_per_byte;
  }
  const auto number = [](const Json& object, const std::string& key) -> std::optional<double> {
    return object.is_object() && object.contains(key) && object[key].is_number()
               ? std::optional(object[key].get<double>())
               : std::nullopt;
  };
  if (metric == "seconds") return run.seconds;
  if (metric.starts_with("seconds.")) return number(run.result.value("seconds", Json::object()), metric.substr(8));
  if (metric == "artifact_bytes" || metric == "bytes")
    return number(run.result.value("artifact", Json::object()), "total_bytes");
  if (const auto found = number(run.metrics, metric)) return found;
  return number(run.result.value("train", Json::object()), metric);
}

std::vector<double> figures(const Group& group, const std::string& metric, const std::string& unit) {
  std::vector<double> values;
  for (const RunRecord& run : group.runs)
    if (const auto value = figure(run, metric, unit)) values.push_back(*value);
  return values;
}

bool all_have(const std::vector<Group>& groups, const std::string& metric) {
  for (const Group& group : groups)
    if (figures(group, metric, "bpb").size() != group.runs.size()) return false;
  return true;
}

std::string choose_metric(const std::vector<Group>& groups, std::string metric) {
  if (metric.empty()) {
    for (const std::string& candidate : score_order())
      if (all_have(groups, candidate)) return candidate;
    if (all_have(groups, "train_loss")) return "train_loss";
    throw Error(ErrorKind::usage, "there is no score that all of these runs have", "Choose one with --metric.");
  }
  if (!all_have(groups, metric) && all_have(groups, metric + "_bpb")) metric += "_bpb";  // "ttt", "sliding"
  if (all_have(groups, metric)) return metric;
  std::set<std::string> there;
  for (const Group& group : groups)
    for (const RunRecord& run : group.runs) {
      for (const auto& [name, value] : run.metrics.items()) there.insert(name);
      if (figure(run, metric, "bpb")) continue;
      if (is_score(metric) || run.metrics.contains(metric) || !figures(groups.front(), metric, "bpb").empty())
        throw Error(ErrorKind::usage, concat("the run ", run.id, " has no ", metric),
                    "Leave it out, or choose another --metric.");
    }
  const std::vector<std::string> known(there.begin(), there.end());
  const std::string guess = closest(metric, known);
  std::string all = "seconds, seconds.train, bytes";
  for (const std::string& name : known) all += ", " + name;
  throw Error(ErrorKind::usage, concat("unknown metric '", metric, "'"),
              guess.empty() ? "accepted: " + all : "did you mean '" + guess + "'?");
}

// What a score was taken of.
struct Scored {
  std::int64_t bytes, tokens;
  std::string text;  // the validation text's hash; its shards' where the text was never seen; empty: not written down
};

Scored scored(const RunRecord& run, const std::string& metric) {
  const RunScore& score = run.scores.at(metric);
  Scored what{score.bytes, score.tokens, {}};
  const Json identity = run.more.is_object() ? run.more.value("identity", Json::object()) : Json::object();
  const Json validation = identity.value("validation", Json::object());
  if (validation.contains("text_sha256") && validation["text_sha256"].is_string())
    what.text = "text " + validation["text_sha256"].get<std::string>();
  else if (validation.contains("sha256"))
    what.text = "shards " + canonical(validation["sha256"]);
  return what;
}

[[noreturn]] void refuse(const RunRecord& a, const RunRecord& b, const std::string& why, const std::string& hint) {
  throw Error(ErrorKind::usage, concat("these scores cannot be compared: ", a.id, " and ", b.id, " ", why), hint);
}

// Throws unless every score is of the same text and as many bytes. Whether nats a token may be compared too: the same
// number of tokens.
bool check_same_text(const std::vector<Group>& groups, const std::string& metric) {
  const RunRecord& first = groups.front().runs.front();
  const Scored reference = scored(first, metric);
  bool same_tokens = true;
  for (const Group& group : groups)
    for (const RunRecord& run : group.runs) {
      const Scored other = scored(run, metric);
      // Shards of another tokenizer hold other bytes of the same text: then the count of the text's bytes must do.
      const bool both_texts = reference.text.starts_with("text ") && other.text.starts_with("text ");
      const bool same_vocabulary = other.tokens == reference.tokens;
      if ((both_texts || same_vocabulary) && !reference.text.empty() && !other.text.empty() &&
          reference.text != other.text)
        refuse(first, run, "were scored on different validation texts",
               concat("Their validation data have the hashes ", reference.text.substr(0, 20), "... and ",
                      other.text.substr(0, 20), "...; score both on the same text: caddie eval RUN MANIFEST."));
      if (other.bytes != reference.bytes)
        refuse(first, run, concat("were scored over ", reference.bytes, " and ", other.bytes, " bytes"),
               "Give both the same evaluate.tokens, train.sequence and validation data; bits per byte of different "
               "bytes say nothing.");
      same_tokens = same_tokens && other.tokens == reference.tokens;
    }
  return same_tokens;
}

std::optional<Extent> extent(const Group& group, const std::vector<std::string>& metrics) {
  Extent extent;
  for (const RunRecord& run : group.runs) {
    double sum = 0;
    bool any = false;
    for (const std::string& metric : metrics)
      if (const auto value = figure(run, metric, "")) {
        sum += *value;
        any = true;
      }
    if (!any) return std::nullopt;
    extent.mean += sum / static_cast<double>(group.runs.size());
    extent.worst = std::max(extent.worst, sum);
  }
  return extent;
}

// The baseline's and the candidate's values; in pairs of a seed where the one's seeds are all among the other's.
struct Sides {
  std::vector<double> baseline, candidate;
  bool paired = false;
};
Sides sides(const Group& baseline, const Group& candidate, const std::string& metric, const std::string& unit) {
  Sides both;
  std::map<std::int64_t, double> partners;
  for (const RunRecord& run : baseline.runs) partners[run.seed] = *figure(run, metric, unit);
  for (const RunRecord& run : candidate.runs) {
    const auto partner = partners.find(run.seed);
    if (partner == partners.end()) continue;
    both.baseline.push_back(partner->second);
    both.candidate.push_back(*figure(run, metric, unit));
  }
  const std::size_t fewer = std::min(baseline.runs.size(), candidate.runs.size());
  both.paired =
      both.baseline.size() == fewer && (fewer >= 2 || (baseline.runs.size() == 1 && candidate.runs.size() == 1));
  if (!both.paired) both = {figures(baseline, metric, unit), figures(candidate, metric, unit), false};
  return both;
}

TTest test_of(const Sides& both, double confidence) {
  return both.paired ? paired_t(both.baseline, both.candidate, confidence)
                     : welch_t(both.baseline, both.candidate, confidence);
}

void judge_rule(CompareRow& row, const TTest& in_nats) {
  row.rule_p = in_nats.p_below(-kRuleNats);
  if (row.rule_p) row.rule_met = *row.rule_p < kRuleLevel && in_nats.difference <= -kRuleNats;
}

std::optional<std::int64_t> needed(const TTest& test, const Sides& both, double alpha) {
  if (!test.error) return std::nullopt;
  double deviation = *test.error * std::sqrt(static_cast<double>(test.n_candidate));
  if (!test.paired) {  // of one side: the root mean square of both
    const double a = standard_deviation(both.baseline).value_or(0), b = standard_deviation(both.candidate).value_or(0);
    deviation = std::sqrt((a * a + b * b) / 2);
  }
  return required_seeds(test.difference, deviation, alpha, kPower, test.paired);
}

std::size_t find_baseline(const std::vector<Group>& groups, const std::string& wanted) {
  if (wanted.empty()) return 0;
  std::vector<std::string> names;
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    names.push_back(groups[i].name);
    if (groups[i].name == wanted) return i;
    for (const RunRecord& run : groups[i].runs)
      if (run.id == wanted || run.folder == wanted || run.id.starts_with(wanted) || run.name == wanted ||
          run.folder.filename() == std::filesystem::path(wanted).lexically_normal().filename()) {
        found.push_back(i);
        break;
      }
  }
  if (found.size() == 1) return found.front();
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  if (found.size() > 1)
    throw Error(ErrorKind::usage, concat("--baseline '", wanted, "' may be ", found.size(), " of the variants"),
                "accepted: " + all);
  const std::string guess = closest(wanted, names);
  throw Error(ErrorKind::usage, concat("--baseline '", wanted, "' is none of the variants that are compared"),
              guess.empty() ? "accepted: " + all : "did you mean '" + guess + "'?");
}

}  // namespace

Comparison compare(const std::vector<Group>& groups, const CompareOptions& options) {
  if (options.unit != "bpb" && options.unit != "nats")
    throw Error(ErrorKind::usage, concat("--unit is '", options.unit, "'"), "accepted: bpb, nats");
  if (groups.size() < 2)
    throw Error(ErrorKind::usage,
                groups.empty() ? "there is nothing to compare" : "there is one variant only: " + groups[0].name,
                "Runs that differ in nothing but the seed are one variant; name a second one.");
  const std::size_t base = find_baseline(groups, options.baseline);
  Comparison comparison;
  comparison.metric = choose_metric(groups, options.metric);
  comparison.confidence = options.confidence;
  comparison.baseline = groups[base].name;
  const bool score = is_score(comparison.metric);
  bool nats = score;
  if (score) {
    nats = check_same_text(groups, comparison.metric);
    if (!nats && options.unit == "nats")
      throw Error(ErrorKind::usage,
                  "nats per token cannot be compared: the tokenizers make different numbers of tokens of the text",
                  "Use --unit bpb.");
    comparison.unit = options.unit;
    if (nats)
      comparison.other_unit = options.unit == "bpb" ? "nats" : "bpb";
    else
      comparison.notes.push_back("the tokenizers differ: no nats per token, and the challenge's rule is not checked");
  } else if (comparison.metric.ends_with("loss")) {
    comparison.unit = "nats";
  }
  std::vector<std::size_t> order = {base};
  for (std::size_t i = 0; i < groups.size(); ++i)
    if (i != base) order.push_back(i);

  for (const std::size_t i : order) {
    const Group& group = groups[i];
    CompareRow row;
    row.name = group.name;
    row.notes = group.notes;
    for (const RunRecord& run : group.runs) {
      row.runs.push_back(run.id);
      row.seeds.push_back(run.seed);
      if (run.status == "budget") row.notes.push_back(concat("seed ", run.seed, " is over a budget"));
    }
    const auto values = figures(group, comparison.metric, comparison.unit);
    row.mean = mean(values);
    row.deviation = standard_deviation(values);
    row.artifact_bytes = extent(group, {"bytes"});
    row.train_seconds = extent(group, {"seconds.train"});
    row.score_seconds = extent(group, {"seconds.evaluate", "seconds.ttt"});
    row.is_baseline = i == base;
    if (!row.is_baseline) {
      const Sides both = sides(groups[base], group, comparison.metric, comparison.unit);
      row.test = test_of(both, options.confidence);
      row.seeds_needed = needed(row.test, both, options.alpha);
      if (!comparison.other_unit.empty())
        row.other_difference =
            test_of(sides(groups[base], group, comparison.metric, comparison.other_unit), options.confidence)
                .difference;
      if (nats) judge_rule(row, test_of(sides(groups[base], group, comparison.metric, "nats"), options.confidence));
      if (!row.test.p)
        row.notes.push_back("one seed: no interval and no test; run more seeds (caddie run MANIFEST --seeds 1,2,3)");
      else if (row.test.paired && groups[base].runs.size() != group.runs.size())
        row.notes.push_back(concat("paired on the ", row.test.n_candidate, " seeds that both have"));
      if (row.test.error == 0.0)
        row.notes.push_back(row.test.difference == 0
                                ? "the same to the last digit for every seed"
                                : "the same difference for every seed: there is no spread to test against");
    }
    comparison.rows.push_back(std::move(row));
  }
  std::vector<std::optional<double>> p;
  for (const CompareRow& row : comparison.rows) p.push_back(row.test.p);
  const auto corrected = holm(p);
  for (std::size_t i = 0; i < corrected.size(); ++i) comparison.rows[i].p_holm = corrected[i];
  return comparison;
}

}  // namespace caddie::registry
