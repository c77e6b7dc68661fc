// Overview, the table of scores with intervals, and the plot of bytes against bits per byte.
#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "registry/compare/compare.h"
#include "registry/report/markup.h"
#include "registry/report/plot.h"
#include "registry/report/sections.h"

namespace caddie::registry::report {
namespace {

constexpr int kDecimals = 5;  // of differences, as `compare` prints them

std::vector<double> values_of(const std::map<std::int64_t, double>& by_seed) {
  std::vector<double> values;
  for (const auto& [seed, value] : by_seed) values.push_back(value);
  return values;
}

// As `compare` wants it: finished runs that have the score, of a seed the newest.
Group group_of(const ReportData& data, const ReportGroup& shown) {
  std::map<std::int64_t, const RunRecord*> by_seed;
  for (const std::size_t run : shown.runs) {
    const RunRecord& record = data.runs[run].record;
    if (!record.finished() || !record.scores.contains(data.metric)) continue;
    const auto [found, first] = by_seed.try_emplace(record.seed, &record);
    if (!first && record.id > found->second->id) found->second = &record;
  }
  Group group{shown.name, {}, {}};
  for (const auto& [seed, record] : by_seed) group.runs.push_back(*record);
  return group;
}

struct Row {
  std::size_t group;
  std::vector<double> scores;
  std::optional<CompareRow> bpb;   // absent for the baseline, and where nothing can be compared
  std::optional<TTest> nats;       // absent where the tokenizers differ
  std::string refused;             // why nothing can be compared: other text, other bytes
  std::optional<double> p_holm;
};

// The same tests as `caddie compare` makes: each variant against the baseline, Holm's correction over the table.
std::vector<Row> rows_of(const ReportData& data) {
  const Group baseline = group_of(data, data.groups[data.baseline]);
  std::vector<Row> rows;
  std::vector<std::optional<double>> ps;
  for (std::size_t i = 0; i < data.groups.size(); ++i) {
    Row row{i, values_of(data.bits_per_byte(data.groups[i], data.metric)), {}, {}, {}, {}};
    const Group candidate = group_of(data, data.groups[i]);
    if (i != data.baseline && !baseline.runs.empty() && !candidate.runs.empty()) {
      try {
        CompareOptions options{baseline.name, data.metric, "bpb"};
        const Comparison comparison = compare({baseline, candidate}, options);
        row.bpb = comparison.rows.back();
        if (!comparison.other_unit.empty()) {
          options.unit = "nats";
          row.nats = compare({baseline, candidate}, options).rows.back().test;
        }
      } catch (const Error& error) {
        row.refused = error.message();
      }
    }
    ps.push_back(row.bpb ? row.bpb->test.p : std::nullopt);
    rows.push_back(std::move(row));
  }
  const auto corrected = holm(ps);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].p_holm = corrected[i];
  return rows;
}

Cell number(const std::optional<double>& value, const std::string& shown) {
  return value ? Cell{shown, value} : Cell{"<span class=\"quiet\">-</span>"};
}

Cell difference_cell(const TTest* test, int decimals) {
  if (test == nullptr) return {"<span class=\"quiet\">-</span>"};
  std::string shown = signed_fixed(test->difference, decimals);
  std::string style;
  if (test->low && test->high) {
    shown +=
        " <small>[" + signed_fixed(*test->low, decimals) + ", " + signed_fixed(*test->high, decimals) + "]</small>";
    if (*test->high < 0) style = "good";
    if (*test->low > 0) style = "bad";
  }
  return {shown, test->difference, style};
}

std::string rule_text(const CompareRow& row) {
  if (!row.rule_met) return "<span class=\"quiet\">-</span>";
  const std::string p = row.rule_p ? " title=\"p = " + p_text(*row.rule_p) + "\"" : "";
  return (*row.rule_met ? "<span class=\"good\"" : "<span class=\"quiet\"") + p + ">" + (*row.rule_met ? "met" : "not met") +
         "</span>";
}

Table score_table(const ReportData& data, const std::vector<Row>& rows) {
  const bool alone = rows.size() == 1;
  std::vector<Table::Column> columns = {
      {"variant", false},
      {"seeds"},
      {score_name(data.metric) + ", bits/byte", true, "mean and standard deviation over seeds"}};
  if (!alone) {
    columns.push_back({"difference, bits/byte", true, "to the baseline, with the 95 % interval"});
    columns.push_back({"difference, nats/token", true, "the unit of the challenge's rule"});
    columns.push_back({"p", true, "two-sided, Holm-corrected over this table"});
    columns.push_back({"rule", false, "better by at least 0.005 nats a token at p below 0.01, one-sided"});
    columns.push_back({"seeds needed", true, "to tell this difference from 0 at p below 0.01 with a power of 0.8"});
  }
  columns.push_back({"bytes", true, "model and source together, mean over seeds"});
  columns.push_back({"train", true, "seconds, mean over seeds"});
  columns.push_back({"total", true, "seconds of all stages, mean over seeds"});
  Table table(columns);
  for (const Row& row : rows) {
    const ReportGroup& group = data.groups[row.group];
    const bool base = row.group == data.baseline;
    const auto score = mean_of(row.scores);
    std::string shown = score ? fixed(*score, 4) : "";
    if (const auto deviation = standard_deviation(row.scores))
      shown += " <small>\xc2\xb1 " + fixed(*deviation, 4) + "</small>";
    const auto bytes = mean_of(data.figures(group, artifact_bytes));
    const auto train = mean_of(
        data.figures(group, [](const RunRecord& r) { return number_in(r.result.value("seconds", Json()), "train"); }));
    const auto total =
        mean_of(data.figures(group, [](const RunRecord& r) { return std::optional<double>(r.seconds); }));
    const TTest* test = row.bpb ? &row.bpb->test : nullptr;
    std::vector<Cell> cells = {
        {"<b>" + text(group.name) + "</b>" + (base && !alone ? " <small class=\"tag\">baseline</small>" : "")},
        {std::to_string(row.scores.size()) +
             (row.scores.size() == group.runs.size() ? "" : " of " + std::to_string(group.runs.size())),
         static_cast<double>(row.scores.size())},
        number(score, shown)};
    if (base && !alone) {
      cells.insert(cells.end(), {Cell{"", 0.0}, Cell{"", 0.0}, Cell{""}, Cell{""}, Cell{""}});
    } else if (!alone) {
      cells.push_back(row.refused.empty() ? difference_cell(test, kDecimals)
                                          : Cell{"<span class=\"quiet\" title=\"" + text(row.refused) +
                                                 "\">other text</span>"});
      cells.push_back(difference_cell(row.nats ? &*row.nats : nullptr, kDecimals));
      const std::string name = test == nullptr ? "" : test->paired ? "paired t test" : "Welch's t test";
      cells.push_back(row.p_holm ? Cell{"<span title=\"" + name + "\">" + text(p_text(*row.p_holm)) + "</span>", row.p_holm}
                                 : Cell{"<span class=\"quiet\">-</span>"});
      cells.push_back({row.bpb ? rule_text(*row.bpb) : ""});
      const auto needed = row.bpb ? row.bpb->seeds_needed : std::nullopt;
      cells.push_back(needed ? Cell{grouped(*needed), static_cast<double>(*needed)}
                             : Cell{"<span class=\"quiet\">-</span>"});
    }
    cells.push_back(number(bytes, bytes ? grouped(std::llround(*bytes)) : ""));
    cells.push_back(number(train, train ? seconds_text(*train) : ""));
    cells.push_back(number(total, total ? seconds_text(*total) : ""));
    table.row(std::move(cells));
  }
  return table;
}

// Every score of the chain, for who wants to see where a difference comes from.
std::string all_scores(const ReportData& data) {
  std::vector<Table::Column> columns{{"variant", false}};
  std::vector<std::string> metrics;
  for (const auto& [metric, name] : score_names()) {
    const bool any = std::any_of(data.groups.begin(), data.groups.end(), [&, &metric = metric](const ReportGroup& g) {
      return !data.bits_per_byte(g, metric).empty();
    });
    if (!any) continue;
    metrics.push_back(metric);
    columns.push_back({name, true, metric});
  }
  columns.push_back({"last training loss", true, "nats a token"});
  Table table(columns);
  for (const ReportGroup& group : data.groups) {
    std::vector<Cell> cells{{text(group.name)}};
    for (const std::string& metric : metrics) {
      const auto mean = mean_of(values_of(data.bits_per_byte(group, metric)));
      cells.push_back(number(mean, mean ? fixed(*mean, 4) : ""));
    }
    const auto loss =
        mean_of(data.figures(group, [](const RunRecord& r) { return number_in(r.metrics, "train_loss"); }));
    cells.push_back(number(loss, loss ? fixed(*loss, 4) : ""));
    table.row(std::move(cells));
  }
  const bool alone = data.groups.size() == 1;
  return details(alone ? "Every score, bits per byte" : "Every score, bits per byte, means over seeds", table.html(), alone);
}

IntervalPlot difference_plot(const ReportData& data, std::vector<Row> rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return (a.bpb ? a.bpb->test.difference : 0) < (b.bpb ? b.bpb->test.difference : 0);
  });
  IntervalPlot plot{"Difference of each variant to the baseline",
                    {"difference to " + data.groups[data.baseline].name + ", bits per byte", false},
                    {}};
  for (const Row& row : rows)
    if (row.bpb)
      plot.rows.push_back({data.groups[row.group].name, row.bpb->test.difference, row.bpb->test.low, row.bpb->test.high,
                           color_of(data, row.group), row.p_holm ? "p " + p_text(*row.p_holm) : ""});
  return plot;
}

}  // namespace

std::string scores_section(const ReportData& data) {
  if (data.metric.empty() || data.groups.empty()) return {};
  const std::vector<Row> rows = rows_of(data);
  std::string body = score_table(data, rows).html();
  const std::string plot = draw(difference_plot(data, rows));
  if (!plot.empty())
    body += figure("Difference to the baseline", plot,
                   "Means over seeds with 95 % intervals; left is better. Without an interval there is one seed.");
  body += all_scores(data);
  const RunRecord& example = data.example(data.groups[data.baseline]);
  std::string intro =
      (rows.size() > 1 ? std::string("Compared by <b>") : std::string("<b>")) + text(score_name(data.metric)) + "</b> (<code>" + text(data.metric) + "</code>)";
  if (const auto bytes = number_in(example.metrics, "val_bytes"))
    intro += " of " + grouped(std::llround(number_in(example.metrics, "val_tokens").value_or(0))) + " tokens, " +
             grouped(std::llround(*bytes)) + " bytes";
  intro += ".";
  if (rows.size() > 1)
    intro += " Tests are those of <code>caddie compare</code>: paired where seeds are shared, else Welch's; p is "
             "two-sided and Holm-corrected over the table; the rule is better by at least 0.005 nats a token at "
             "p &lt; 0.01.";
  return section("scores", "Scores", intro, body);
}

std::string size_section(const ReportData& data) {
  if (data.metric.empty()) return {};
  DotPlot plot{"Artifact bytes against bits per byte",
               {"artifact and source, MB", false},
               {score_name(data.metric) + ", bits per byte", false},
               {},
               {},
               {},
               {}};
  std::vector<std::pair<double, double>> all;
  const auto megabytes = [](double bytes) { return bytes / 1e6; };
  for (std::size_t group = 0; group < data.groups.size(); ++group) {
    const auto bytes = mean_of(data.figures(data.groups[group], artifact_bytes));
    const std::vector<double> scores = values_of(data.bits_per_byte(data.groups[group], data.metric));
    if (!bytes || scores.empty()) continue;
    const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
    const double score = *mean_of(scores);
    Dot dot{data.groups[group].name,
            megabytes(*bytes),
            score,
            {},
            {},
            color_of(data, group),
            data.groups[group].name + ": " + grouped(std::llround(*bytes)) + " bytes, " + fixed(score, 4) +
                " bits per byte"};
    if (scores.size() > 1) {
      dot.low = *low;
      dot.high = *high;
    }
    plot.dots.push_back(dot);
    all.emplace_back(dot.x, dot.y);
    if (const auto cap = number_in(data.example(data.groups[group]).result.value("artifact", Json()), "cap");
        cap && *cap > 0) {
      plot.limit = megabytes(*cap);
      plot.limit_label = "limit " + grouped(std::llround(*cap)) + " bytes";
    }
  }
  if (plot.dots.size() < 2) return {};
  std::sort(all.begin(), all.end());
  for (const auto& point : all)
    if (plot.front.empty() || point.second < plot.front.back().second) plot.front.push_back(point);
  return section(
      "size", "Bytes against bits per byte", "",
      figure("What a byte buys", draw(plot),
             "Left and down is better. The line joins what nothing beats in both. Bars are the range over seeds."));
}

}  // namespace caddie::registry::report
