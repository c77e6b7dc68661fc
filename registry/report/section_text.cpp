// Where the nats of a score are: by position in the window, by the bytes of a token. And the manifests.
#include <algorithm>
#include <cmath>
#include <set>

#include "registry/report/markup.h"
#include "registry/report/plot.h"
#include "registry/report/sections.h"

namespace caddie::registry::report {
namespace {

using Points = std::vector<std::pair<double, double>>;

// The profile of a flat score: of the artifact where it has one, else of the averaged weights.
const Json* profile_of(const RunRecord& record) {
  if (!record.stages.is_object() || !record.stages.contains("evaluate")) return nullptr;
  const Json& stage = record.stages.at("evaluate");
  const auto outputs = stage.find("outputs");
  if (outputs == stage.end()) return nullptr;
  for (const char* metric : {"roundtrip_bpb", "val_bpb", "last_step_bpb"})
    if (outputs->contains(metric) && (*outputs)[metric].contains("profile")) return &(*outputs)[metric]["profile"];
  return nullptr;
}

// Sums over the finished runs of a group: key -> nats, tokens.
std::map<double, std::pair<double, double>> sums_of(const ReportData& data, const ReportGroup& group, const char* part,
                                                    const char* key) {
  std::map<double, std::pair<double, double>> sums;
  for (const std::size_t run : group.runs) {
    const Json* profile = profile_of(data.runs[run].record);
    if (profile == nullptr || !profile->contains(part)) continue;
    const Json& table = profile->at(part);
    for (std::size_t i = 0; i < table.at(key).size(); ++i) {
      auto& sum = sums[table.at(key).at(i).get<double>()];
      sum.first += table.at("nats").at(i).get<double>();
      sum.second += table.at("tokens").at(i).get<double>();
    }
  }
  return sums;
}

// Loss in nats a token by `key`, of one group over its seeds.
std::map<double, double> losses_of(const ReportData& data, const ReportGroup& group, const char* part,
                                   const char* key) {
  std::map<double, double> losses;
  for (const auto& [at, sum] : sums_of(data, group, part, key))
    if (sum.second > 0) losses[at] = sum.first / sum.second;
  return losses;
}

// A curve for each variant; `against` the baseline: less its loss, which shows small differences.
std::string profile_plot(const ReportData& data, const std::vector<Shared>& variants, const char* part, const char* key,
                         const Axis& x, double shift, bool against) {
  const auto base = losses_of(data, data.groups[data.baseline], part, key);
  CurvePlot plot{"Loss by " + x.label, x, {against ? "difference, nats/token" : "loss, nats/token", false}, {}};
  for (const Shared& shared : variants) {
    const bool is_base = std::find(shared.groups.begin(), shared.groups.end(), data.baseline) != shared.groups.end();
    if (against && is_base) continue;
    Points points;
    for (const auto& [at, loss] : losses_of(data, data.groups[shared.groups.front()], part, key)) {
      const auto other = base.find(at);
      if (!against) points.emplace_back(at + shift, loss);
      else if (other != base.end()) points.emplace_back(at + shift, loss - other->second);
    }
    plot.curves.push_back({shared.label, std::move(points), color_of(data, shared.groups.front()),
                           part == std::string("bytes"), shared.names});
  }
  return draw(plot);
}

std::string share_plot(const ReportData& data) {
  const auto sums = sums_of(data, data.groups[data.baseline], "bytes", "length");
  double nats = 0, tokens = 0;
  for (const auto& [length, sum] : sums) {
    nats += sum.first;
    tokens += sum.second;
  }
  if (nats <= 0 || tokens <= 0) return {};
  CurvePlot plot{
      "Share of tokens and of nats by token length", {"bytes of the token", false, true}, {"share, %", false}, {}};
  Curve of_tokens{"of all tokens", {}, 1, true, {}}, of_nats{"of all nats", {}, 0, true, {}};
  for (const auto& [length, sum] : sums) {
    of_tokens.points.emplace_back(length, 100 * sum.second / tokens);
    of_nats.points.emplace_back(length, 100 * sum.first / nats);
  }
  plot.curves = {of_nats, of_tokens};
  return draw(plot);
}

}  // namespace

std::string text_section(const ReportData& data) {
  const auto variants = shared_by(data, [&](const ReportGroup& group) -> std::string {
    const Json* profile = profile_of(data.example(group));
    return profile == nullptr ? std::string() : canonical(*profile);
  });
  if (variants.empty()) return {};
  const Axis position{"position in the window, from 1", true}, length{"bytes of the token", false, true};
  const std::string below = "Below zero is better than " + data.groups[data.baseline].name + ".";
  std::string body;
  const auto add = [&](const std::string& head, const std::string& drawing, const std::string& caption) {
    if (!drawing.empty()) body += figure(head, drawing, caption);
  };
  add("Loss by position in the window", profile_plot(data, variants, "position", "from", position, 1, false),
      "Flat scores of the artifact (else of the averaged weights): how much a longer context helps.");
  if (variants.size() > 1)
    add("Loss by position less the baseline's", profile_plot(data, variants, "position", "from", position, 1, true),
        below);
  add("Loss by length of the token", profile_plot(data, variants, "bytes", "length", length, 0, false),
      "The last length counts all longer ones. Tokens of 0 bytes are control or unknown pieces.");
  if (variants.size() > 1)
    add("Loss by length less the baseline's", profile_plot(data, variants, "bytes", "length", length, 0, true), below);
  if (const std::string drawing = share_plot(data); !drawing.empty())
    body += figure("Shares by length of the token", drawing, "Of " + data.groups[data.baseline].name + ".");
  return section("text", "Where the loss is", "", "<div class=\"figures\">" + body + "</div>\n");
}

namespace {

std::string value_text(const Json& value) { return value.is_string() ? value.get<std::string>() : canonical(value); }

std::string difference_table(const ReportData& data) {
  const auto base = flatten(data.example(data.groups[data.baseline]).resolved);
  Table table({{"variant", false}, {"key", false}, {"baseline", false}, {"here", false}});
  for (std::size_t group = 0; group < data.groups.size(); ++group) {
    if (group == data.baseline) continue;
    const auto own = flatten(data.example(data.groups[group]).resolved);
    std::set<std::string> keys;
    for (const auto& [key, value] : base) keys.insert(key);
    for (const auto& [key, value] : own) keys.insert(key);
    std::size_t count = 0;
    for (const std::string& key : keys) {
      if (key == "seed" || key == "name") continue;
      const auto left = base.find(key), right = own.find(key);
      if (left != base.end() && right != own.end() && left->second == right->second) continue;
      const auto shown = [](bool absent, const Json& value) {
        return absent ? std::string("<span class=\"quiet\">absent</span>")
                      : "<code class=\"wrap\">" + text(shortened(value_text(value), 120)) + "</code>";
      };
      table.row({{count == 0 ? "<b>" + text(data.groups[group].name) + "</b>"
                             : "<span class=\"quiet\">" + text(data.groups[group].name) + "</span>"},
                 {"<code>" + text(key) + "</code>"},
                 {shown(left == base.end(), left == base.end() ? Json() : left->second)},
                 {shown(right == own.end(), right == own.end() ? Json() : right->second)}});
      if (++count == 60) break;
    }
  }
  return table.empty() ? std::string() : table.html();
}

// Facts of the machines that ran it; where runs differ, all values.
std::string environment_table(const ReportData& data) {
  std::map<std::string, std::map<std::string, std::size_t>> facts;
  for (const ReportRun& run : data.runs) {
    if (!run.record.environment.is_object()) continue;
    for (const auto& [key, value] : run.record.environment.items()) ++facts[key][shortened(value_text(value), 200)];
  }
  if (facts.empty()) return {};
  Table table({{"fact", false}, {"value", false}});
  for (const auto& [key, values] : facts) {
    std::string shown;
    for (const auto& [value, count] : values)
      shown += (shown.empty() ? "" : "<br>") + text(value) +
               (values.size() > 1 ? " <small>" + std::to_string(count) + " runs</small>" : "");
    table.row({{text(key)}, {"<span class=\"wrap\">" + shown + "</span>", {}, values.size() > 1 ? "warn" : ""}});
  }
  return table.html();
}

std::string run_table(const ReportData& data) {
  Table table({{"run", false}, {"variant", false}, {"seed"}, {"status", false}, {"started", false}, {"seconds"}});
  for (const ReportGroup& group : data.groups)
    for (const std::size_t run : group.runs) {
      const RunRecord& record = data.runs[run].record;
      table.row({{"<code>" + text(record.id) + "</code>"},
                 {text(group.name)},
                 {std::to_string(record.seed), static_cast<double>(record.seed)},
                 {text(record.shown_status())},
                 {text(record.started)},
                 {seconds_text(record.seconds), record.seconds}});
    }
  return table.html();
}

}  // namespace

std::string manifests_section(const ReportData& data) {
  if (data.runs.empty()) return {};
  const RunRecord& base = data.example(data.groups[data.baseline]);
  std::string body;
  if (const std::string differences = difference_table(data); !differences.empty())
    body += "<h3>Differences to " + text(data.groups[data.baseline].name) + "</h3>\n" + differences;
  body += details("The baseline's manifest, everything filled in",
                  "<pre>" + text(base.resolved.dump(2, ' ', false, Json::error_handler_t::replace)) + "</pre>");
  if (const std::string table = environment_table(data); !table.empty())
    body += details("Machines and versions", table);
  if (base.plugins.is_object()) {
    Table plugins({{"plugin", false}, {"version", false}, {"SHA-256 of its file", false}});
    for (const auto& [name, facts] : base.plugins.items())
      plugins.row(
          {{text(name)},
           {facts.is_object() ? text(value_text(facts.value("version", Json("")))) : ""},
           {facts.is_object() ? "<code>" + text(value_text(facts.value("sha256", Json("")))) + "</code>" : ""}});
    if (!plugins.empty()) body += details("Plugins of the baseline", plugins.html());
  }
  body += details("Every run", run_table(data));
  return section("manifests", "Manifests and provenance", "", body);
}

}  // namespace caddie::registry::report
