// Overview, the table of scores with intervals, and the plot of bytes against bits per byte.
#include <algorithm>
#include <cmath>

#include "registry/compare/statistics.h"
#include "registry/report/markup.h"
#include "registry/report/plot.h"
#include "registry/report/sections.h"

namespace caddie::registry::report {
namespace {

std::vector<double> values_of(const std::map<std::int64_t, double>& by_seed) {
  std::vector<double> values;
  for (const auto& [seed, value] : by_seed) values.push_back(value);
  return values;
}

// Paired where both have the same seeds, else Welch's.
std::optional<TTest> test_of(const std::map<std::int64_t, double>& baseline,
                             const std::map<std::int64_t, double>& candidate) {
  if (baseline.empty() || candidate.empty()) return std::nullopt;
  const bool same = baseline.size() == candidate.size() &&
                    std::equal(baseline.begin(), baseline.end(), candidate.begin(),
                               [](const auto& a, const auto& b) { return a.first == b.first; });
  return same ? paired_t(values_of(baseline), values_of(candidate))
              : welch_t(values_of(baseline), values_of(candidate));
}

// What was scored: differences are told between scores of the same text only.
std::string text_scored(const RunRecord& record) {
  const auto tokens = number_in(record.metrics, "val_tokens"), bytes = number_in(record.metrics, "val_bytes");
  const Json identity = record.more.is_object() ? record.more.value("identity", Json()) : Json();
  const Json validation = identity.is_object() ? identity.value("validation", Json()) : Json();
  return fixed(tokens.value_or(-1), 0) + "/" + fixed(bytes.value_or(-1), 0) + "/" + canonical(validation);
}

struct Row {
  std::size_t group;
  std::vector<double> scores;
  std::optional<TTest> bpb, nats;
  bool same_text = true;
  std::optional<double> p_holm;
};

std::vector<Row> rows_of(const ReportData& data) {
  const ReportGroup& baseline = data.groups[data.baseline];
  const auto base_bpb = data.bits_per_byte(baseline, data.metric), base_nats = data.loss(baseline, data.metric);
  std::vector<Row> rows;
  std::vector<std::optional<double>> ps;
  for (std::size_t group = 0; group < data.groups.size(); ++group) {
    Row row{group, values_of(data.bits_per_byte(data.groups[group], data.metric)), {}, {}, true, {}};
    row.same_text = text_scored(data.example(data.groups[group])) == text_scored(data.example(baseline));
    if (group != data.baseline && row.same_text) {
      row.bpb = test_of(base_bpb, data.bits_per_byte(data.groups[group], data.metric));
      row.nats = test_of(base_nats, data.loss(data.groups[group], data.metric));
    }
    ps.push_back(row.bpb ? row.bpb->p : std::nullopt);
    rows.push_back(std::move(row));
  }
  const auto corrected = holm(ps);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].p_holm = corrected[i];
  return rows;
}

Cell number(const std::optional<double>& value, const std::string& shown) {
  return value ? Cell{shown, value} : Cell{"<span class=\"quiet\">-</span>"};
}

Cell difference_cell(const std::optional<TTest>& test, int decimals) {
  if (!test) return {"<span class=\"quiet\">-</span>"};
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

Table score_table(const ReportData& data, const std::vector<Row>& rows) {
  Table table({{"variant", false},
               {"seeds"},
               {score_name(data.metric) + ", bits/byte", true, "mean and standard deviation over seeds"},
               {"difference, bits/byte", true, "to the baseline, with the 95 % interval"},
               {"difference, nats/token", true, "the unit of the challenge's rule"},
               {"p", true, "two-sided, Holm-corrected over this table"},
               {"bytes", true, "model and source together, mean over seeds"},
               {"train", true, "seconds, mean over seeds"},
               {"total", true, "seconds of all stages, mean over seeds"}});
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
    const std::string test = row.bpb ? (row.bpb->paired ? "paired t test" : "Welch's t test") : "";
    table.row({{"<b>" + text(group.name) + "</b>" + (base ? " <small class=\"tag\">baseline</small>" : "")},
               {std::to_string(row.scores.size()) +
                    (row.scores.size() == group.runs.size() ? "" : " of " + std::to_string(group.runs.size())),
                static_cast<double>(row.scores.size())},
               number(score, shown),
               base            ? Cell{"", 0.0}
               : row.same_text ? difference_cell(row.bpb, 4)
                               : Cell{"<span class=\"quiet\">other text</span>"},
               base ? Cell{"", 0.0} : difference_cell(row.nats, 4),
               row.p_holm ? Cell{"<span title=\"" + test + "\">" + text(p_text(*row.p_holm)) + "</span>", row.p_holm}
                          : Cell{base ? "" : "<span class=\"quiet\">-</span>"},
               number(bytes, bytes ? grouped(std::llround(*bytes)) : ""),
               number(train, train ? seconds_text(*train) : ""),
               number(total, total ? seconds_text(*total) : "")});
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
  return details("Every score, bits per byte, means over seeds", table.html());
}

IntervalPlot difference_plot(const ReportData& data, std::vector<Row> rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return (a.bpb ? a.bpb->difference : 0) < (b.bpb ? b.bpb->difference : 0);
  });
  IntervalPlot plot{"Difference of each variant to the baseline",
                    {"difference to " + data.groups[data.baseline].name + ", bits per byte", false},
                    {}};
  for (const Row& row : rows)
    if (row.bpb)
      plot.rows.push_back({data.groups[row.group].name, row.bpb->difference, row.bpb->low, row.bpb->high,
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
      "Compared by <b>" + text(score_name(data.metric)) + "</b> (<code>" + text(data.metric) + "</code>)";
  if (const auto bytes = number_in(example.metrics, "val_bytes"))
    intro += " of " + grouped(std::llround(number_in(example.metrics, "val_tokens").value_or(0))) + " tokens, " +
             grouped(std::llround(*bytes)) + " bytes";
  intro +=
      ". Tests are paired where both have the same seeds, else Welch's; p is two-sided and Holm-corrected over the "
      "table.";
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
  if (plot.dots.empty()) return {};
  std::sort(all.begin(), all.end());
  for (const auto& point : all)
    if (plot.front.empty() || point.second < plot.front.back().second) plot.front.push_back(point);
  return section(
      "size", "Bytes against bits per byte", "",
      figure("What a byte buys", draw(plot),
             "Left and down is better. The line joins what nothing beats in both. Bars are the range over seeds."));
}

}  // namespace caddie::registry::report
