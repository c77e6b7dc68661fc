// A comparison as JSON, CSV, Markdown, and for a terminal.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/base/log.h"
#include "registry/compare/compare.h"

namespace caddie::registry {
namespace {

Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json extent_json(const std::optional<Extent>& extent) {
  return extent ? Json{{"mean", extent->mean}, {"worst", extent->worst}} : Json();
}

std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}
std::string with_sign(double value, int decimals) {
  const std::string text = fixed(value, decimals);
  return text.starts_with("-") ? text : "+" + text;
}
std::string commas(double value) {
  std::string digits = fixed(std::abs(value), 0);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<std::size_t>(i), ",");
  return value < 0 ? "-" + digits : digits;
}
std::string p_text(const std::optional<double>& p) {
  if (!p) return "-";
  if (*p < 0.0001) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0e", *p);
    return *p == 0 ? "0" : text;
  }
  return fixed(*p, 4);
}

// Decimals that show a score's or a count's differences.
int decimals_of(const Comparison& comparison) {
  if (!comparison.unit.empty()) return 5;
  for (const CompareRow& row : comparison.rows)
    if (std::abs(row.mean) > 1000) return 0;
  return 3;
}

std::string extent_text(const std::optional<Extent>& extent, bool bytes) {
  if (!extent) return "-";
  if (bytes) return commas(extent->mean) + (extent->worst != extent->mean ? " (" + commas(extent->worst) + ")" : "");
  return fixed(extent->mean, 1) + (extent->worst != extent->mean ? " (" + fixed(extent->worst, 1) + ")" : "");
}

std::string metric_title(const Comparison& comparison) {
  std::string name = comparison.metric;
  if (name.ends_with("_bpb")) name = name.substr(0, name.size() - 4);
  if (comparison.unit == "bpb") return name + ", bits per byte";
  if (comparison.unit == "nats") return name + ", nats per token";
  return name;
}

std::vector<std::vector<std::string>> cells(const Comparison& comparison) {
  const int decimals = decimals_of(comparison);
  const std::string level = fixed(100 * comparison.confidence,
                                  comparison.confidence * 100 == std::floor(comparison.confidence * 100) ? 0 : 1);
  std::vector<std::vector<std::string>> rows = {
      {"variant", "n", "mean", "difference", level + " % interval", "p", "p Holm", "test"}};
  const bool scores = !comparison.other_unit.empty();
  if (scores) rows[0].push_back("difference, " + comparison.other_unit);
  if (scores) rows[0].push_back("rule");
  for (const char* title : {"seeds needed", "bytes (worst)", "train s", "score s"}) rows[0].push_back(title);
  for (const CompareRow& row : comparison.rows) {
    const TTest& test = row.test;
    std::vector<std::string> line = {
        row.name, std::to_string(row.runs.size()),
        fixed(row.mean, decimals) + (row.deviation ? " ± " + fixed(*row.deviation, decimals) : "")};
    if (row.is_baseline) {
      line.insert(line.end(), {"baseline", "", "", "", ""});
      if (scores) line.insert(line.end(), {"", ""});
      line.push_back("");
    } else {
      line.push_back(with_sign(test.difference, decimals));
      line.push_back(test.low ? "[" + with_sign(*test.low, decimals) + ", " + with_sign(*test.high, decimals) + "]"
                              : "-");
      line.push_back(p_text(test.p));
      line.push_back(p_text(row.p_holm));
      line.push_back(!test.p ? "-" : test.paired ? "paired" : "Welch");
      if (scores) line.push_back(row.other_difference ? with_sign(*row.other_difference, 5) : "-");
      if (scores) line.push_back(!row.rule_met ? "-" : *row.rule_met ? "met" : "not met");
      line.push_back(row.seeds_needed ? std::to_string(*row.seeds_needed) : "-");
    }
    line.push_back(extent_text(row.artifact_bytes, true));
    line.push_back(extent_text(row.train_seconds, false));
    line.push_back(extent_text(row.score_seconds, false));
    rows.push_back(std::move(line));
  }
  return rows;
}

std::vector<std::string> footnotes(const Comparison& comparison) {
  std::vector<std::string> notes;
  if (!comparison.other_unit.empty()) {
    std::string text = "rule: better by at least " + fixed(kRuleNats, 3) + " nats per token at p < " +
                       fixed(kRuleLevel, 2) + ", one-sided";
    for (const CompareRow& row : comparison.rows)
      if (row.rule_p) text += "; " + row.name + ": p = " + p_text(row.rule_p);
    notes.push_back(text);
  }
  notes.push_back("seeds needed: to tell this difference from 0 at p < 0.01 with a power of 0.8");
  for (const CompareRow& row : comparison.rows)
    for (const std::string& note : row.notes) notes.push_back(row.name + ": " + note);
  notes.insert(notes.end(), comparison.notes.begin(), comparison.notes.end());
  return notes;
}

// Code points, not bytes.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

Json to_json(const Comparison& comparison) {
  Json rows = Json::array();
  for (const CompareRow& row : comparison.rows) {
    const bool tested = !row.is_baseline;
    rows.push_back({{"name", row.name},
                    {"n", row.runs.size()},
                    {"mean", row.mean},
                    {"sd", number(row.deviation)},
                    {"baseline", row.is_baseline},
                    {"difference", row.test.difference},
                    {"low", number(row.test.low)},
                    {"high", number(row.test.high)},
                    {"p", number(row.test.p)},
                    {"p_holm", number(row.p_holm)},
                    {"paired", row.test.paired},
                    {"other_difference", number(row.other_difference)},
                    {"rule", tested && row.rule_p ? Json{{"p", *row.rule_p}, {"met", *row.rule_met}} : Json()},
                    {"seeds_needed", row.seeds_needed ? Json(*row.seeds_needed) : Json()},
                    {"artifact_bytes", extent_json(row.artifact_bytes)},
                    {"train_seconds", extent_json(row.train_seconds)},
                    {"score_seconds", extent_json(row.score_seconds)},
                    {"seeds", row.seeds},
                    {"runs", row.runs},
                    {"notes", row.notes}});
  }
  return {{"unit", comparison.unit},
          {"other_unit", comparison.other_unit},
          {"metric", comparison.metric},
          {"baseline", comparison.baseline},
          {"confidence", comparison.confidence},
          {"rule", {{"nats_per_token", kRuleNats}, {"p", kRuleLevel}, {"unit", "nats"}}},
          {"rows", rows},
          {"notes", comparison.notes}};
}

std::string to_csv(const Comparison& comparison) {
  const auto quoted = [](const std::string& text) {
    if (text.find_first_of(",\"\n") == std::string::npos) return text;
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  };
  const auto plain = [](const std::optional<double>& value) { return value ? canonical(Json(*value)) : std::string(); };
  std::string text =
      "name,n,metric,unit,mean,sd,difference,low,high,p,p_holm,paired,other_unit,other_difference,rule_p,rule_met,"
      "seeds_needed,"
      "artifact_bytes_mean,artifact_bytes_worst,train_seconds_mean,train_seconds_worst,score_seconds_mean,score_"
      "seconds_worst\n";
  for (const CompareRow& row : comparison.rows) {
    const auto both = [&](const std::optional<Extent>& extent) {
      return extent ? plain(extent->mean) + "," + plain(extent->worst) : std::string(",");
    };
    text += quoted(row.name) + "," + std::to_string(row.runs.size()) + "," + comparison.metric + "," + comparison.unit +
            "," + plain(row.mean) + "," + plain(row.deviation) + "," + plain(row.test.difference) + "," +
            plain(row.test.low) + "," + plain(row.test.high) + "," + plain(row.test.p) + "," + plain(row.p_holm) + "," +
            (row.test.paired ? "true" : "false") + "," + comparison.other_unit + "," + plain(row.other_difference) +
            "," + plain(row.rule_p) + "," +
            (!row.rule_met   ? ""
             : *row.rule_met ? "true"
                             : "false") +
            "," + (row.seeds_needed ? std::to_string(*row.seeds_needed) : "") + "," + both(row.artifact_bytes) + "," +
            both(row.train_seconds) + "," + both(row.score_seconds) + "\n";
  }
  return text;
}

std::string to_markdown(const Comparison& comparison) {
  std::string text = "**" + metric_title(comparison) + "**\n\n";
  const auto rows = cells(comparison);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += "|";
    for (const std::string& cell : rows[i]) {
      text += " ";
      for (const char c : cell) text += c == '|' ? "\\|" : std::string(1, c);
      text += " |";
    }
    text += "\n";
    if (i > 0) continue;
    text += "|";
    for (std::size_t c = 0; c < rows[0].size(); ++c) text += c == 0 ? "---|" : "---:|";
    text += "\n";
  }
  text += "\n";
  for (const std::string& note : footnotes(comparison)) text += "- " + note + "\n";
  return text;
}

std::string to_text(const Comparison& comparison) {
  const auto rows = cells(comparison);
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c]));
  std::string text = log::styled(metric_title(comparison), "1") + "\n";
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - width_of(row[c]), ' ');
      line += c == 0 ? "  " + row[c] + gap : "  " + gap + row[c];
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  for (const std::string& note : footnotes(comparison)) text += "  " + note + "\n";
  return text;
}

}  // namespace caddie::registry
