// What a reader wants first, what went wrong, the leaderboard, and what the sections share.
#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/clock.h"
#include "registry/compare/statistics.h"
#include "registry/report/markup.h"
#include "registry/report/sections.h"

namespace caddie::registry::report {
namespace {

std::string tile(const std::string& figure, const std::string& name) {
  return "<div class=\"tile\"><b>" + figure + "</b><span>" + text(name) + "</span></div>\n";
}

std::string status_cell(const std::string& status) {
  const char* style = status == "ok"                                                  ? "good"
                      : status == "failed" || status == "illegal" || status == "lost" ? "bad"
                                                                                      : "warn";
  return std::string("<span class=\"") + style + "\">" + text(status) + "</span>";
}

}  // namespace

int color_of(const ReportData& data, std::size_t group) {
  if (group == data.baseline) return 0;
  return static_cast<int>(group < data.baseline ? group + 1 : group);
}

std::optional<double> artifact_bytes(const RunRecord& record) {
  return record.result.is_object() ? number_in(record.result.value("artifact", Json()), "total_bytes") : std::nullopt;
}

std::optional<double> mean_of(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  return mean(values);
}

std::string stage_key_of(const RunRecord& record, const char* stage) {
  if (!record.stages.is_object() || !record.stages.contains(stage)) return {};
  return record.stages.at(stage).value("key", std::string());
}

std::string overview_section(const ReportData& data) {
  std::size_t finished = 0;
  double computed = 0;
  std::set<std::string> trainings;
  for (const ReportRun& run : data.runs) {
    finished += run.record.finished() ? 1 : 0;
    if (const std::string key = stage_key_of(run.record, "train"); !key.empty()) trainings.insert(key);
    for (const auto& [stage, facts] : run.record.stages.items())
      if (!facts.value("cached", false)) computed += facts.value("seconds", 0.0);
  }
  std::string body = "<div class=\"tiles\">\n";
  body +=
      tile(std::to_string(finished) + (finished == data.runs.size() ? "" : " of " + std::to_string(data.runs.size())),
           "runs finished");
  body += tile(std::to_string(data.groups.size()), data.groups.size() == 1 ? "variant" : "variants");
  if (!trainings.empty())
    body += tile(std::to_string(trainings.size()), trainings.size() == 1 ? "training" : "different trainings");
  body += tile(seconds_text(computed), "computing time");
  if (!data.metric.empty()) {
    std::optional<double> best;
    std::string name;
    for (const ReportGroup& group : data.groups) {
      const auto by_seed = data.bits_per_byte(group, data.metric);
      std::vector<double> values;
      for (const auto& [seed, value] : by_seed) values.push_back(value);
      if (const auto score = mean_of(values); score && (!best || *score < *best)) {
        best = score;
        name = group.name;
      }
    }
    if (best) body += tile(fixed(*best, 4), data.groups.size() > 1 ? "lowest bits per byte: " + name : std::string("bits per byte"));
  }
  if (!data.incidents.empty()) body += tile(std::to_string(data.incidents.size()), "not ok, see below");
  return section("overview", "Overview", "", body + "</div>\n");
}

std::string incidents_section(const ReportData& data) {
  if (data.incidents.empty() && data.skipped.empty()) return {};
  Table table({{"job", false}, {"status", false}, {"reason", false}, {"attempts"}, {"run", false}});
  for (const Incident& incident : data.incidents)
    table.row({{text(incident.name)},
               {status_cell(incident.status)},
               {"<span class=\"wrap\">" + text(shortened(incident.reason, 600)) + "</span>"},
               {std::to_string(incident.attempts), static_cast<double>(incident.attempts)},
               {"<code>" + text(incident.run) + "</code>"}});
  for (const SkippedFolder& folder : data.skipped)
    table.row({{text(folder.folder.filename().string())},
               {status_cell("not readable")},
               {"<span class=\"wrap\">" + text(folder.reason) + "</span>"},
               {""},
               {""}});
  return section("incidents", "What did not end well",
                 "These are in no mean above, except runs that are finished and over a budget.", table.html());
}

std::string leaderboard_section(const ReportData& data) {
  // Scores of different texts are in different tables.
  std::map<std::string, std::vector<std::size_t>> by_text;
  for (std::size_t group = 0; group < data.groups.size(); ++group) {
    const RunRecord& example = data.example(data.groups[group]);
    if (data.bits_per_byte(data.groups[group], data.metric).empty()) continue;
    by_text[grouped(std::llround(number_in(example.metrics, "val_tokens").value_or(0))) + " tokens, " +
            grouped(std::llround(number_in(example.metrics, "val_bytes").value_or(0))) + " bytes"]
        .push_back(group);
  }
  std::string body;
  for (auto& [scored, groups] : by_text) {
    std::vector<std::pair<double, std::size_t>> order;
    for (const std::size_t group : groups) {
      std::vector<double> values;
      for (const auto& [seed, value] : data.bits_per_byte(data.groups[group], data.metric)) values.push_back(value);
      order.emplace_back(mean(values), group);
    }
    std::sort(order.begin(), order.end());
    Table table({{"#"},
                 {"name", false},
                 {"bits/byte", true, score_name(data.metric)},
                 {"deviation", true, "over seeds"},
                 {"seeds"},
                 {"bytes", true, "model and source together"},
                 {"train"},
                 {"parameters changed", false},
                 {"last run", false}});
    std::size_t place = 0;
    for (const auto& [score, group] : order) {
      std::vector<double> values;
      for (const auto& [seed, value] : data.bits_per_byte(data.groups[group], data.metric)) values.push_back(value);
      const auto deviation = standard_deviation(values);
      const RunRecord& example = data.example(data.groups[group]);
      const RunRecord& last = data.runs[data.groups[group].runs.back()].record;
      const auto bytes = mean_of(data.figures(data.groups[group], artifact_bytes));
      const auto train = mean_of(data.figures(data.groups[group], [](const RunRecord& r) {
        return number_in(r.result.value("seconds", Json()), "train");
      }));
      std::string changes;
      for (const std::string& change : example.overrides)
        if (!change.starts_with("seed=")) changes += (changes.empty() ? "" : ", ") + change;
      ++place;
      table.row({{std::to_string(place), static_cast<double>(place)},
                 {"<b>" + text(example.name) + "</b>"},
                 {fixed(score, 4), score},
                 deviation ? Cell{fixed(*deviation, 4), deviation} : Cell{"-"},
                 {std::to_string(values.size()), static_cast<double>(values.size())},
                 bytes ? Cell{grouped(std::llround(*bytes)), bytes} : Cell{"-"},
                 train ? Cell{seconds_text(*train), train} : Cell{"-"},
                 {"<span class=\"wrap\">" + text(shortened(changes, 160)) + "</span>"},
                 {"<code>" + text(last.id) + "</code>"}});
    }
    body += "<h3>" + text(scored) + "</h3>\n" + table.html();
  }
  return body.empty()
             ? body
             : section("leaderboard", "Leaderboard",
                       "By <b>" + text(score_name(data.metric)) + "</b>; one table for each validation text.", body);
}

}  // namespace caddie::registry::report
