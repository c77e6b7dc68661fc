// The parts of a report's page, each a <section> or nothing where the runs have nothing to show. Internal to the room.
#pragma once

#include <string>

#include "registry/report/report_data.h"

namespace caddie::registry::report {

std::string overview_section(const ReportData& data);
std::string scores_section(const ReportData& data);
std::string size_section(const ReportData& data);
std::string curves_section(const ReportData& data);
std::string time_section(const ReportData& data);
std::string tensors_section(const ReportData& data);
std::string text_section(const ReportData& data);
std::string manifests_section(const ReportData& data);
std::string incidents_section(const ReportData& data);
std::string leaderboard_section(const ReportData& data);

// The palette's place of a group: the baseline has the first.
int color_of(const ReportData& data, std::size_t group);
// Groups that share something (a training, a profile) are drawn as one: `key` of each, in the order of the first; an
// empty key leaves a group out.
struct Shared {
  std::string label;                // "base", "base +2"
  std::string names;                // all of them
  std::vector<std::size_t> groups;  // into data.groups
};
template <class Key>
std::vector<Shared> shared_by(const ReportData& data, const Key& key);

std::optional<double> artifact_bytes(const RunRecord& record);  // model and source together
std::optional<double> mean_of(const std::vector<double>& values);
std::string stage_key_of(const RunRecord& record, const char* stage);

template <class Key>
std::vector<Shared> shared_by(const ReportData& data, const Key& key) {
  std::vector<Shared> shared;
  std::vector<std::string> keys;
  for (std::size_t group = 0; group < data.groups.size(); ++group) {
    const std::string own = key(data.groups[group]);
    if (own.empty()) continue;
    std::size_t at = 0;
    while (at < keys.size() && keys[at] != own) ++at;
    if (at == keys.size()) {
      keys.push_back(own);
      shared.push_back({data.groups[group].name, "", {}});
    }
    shared[at].groups.push_back(group);
    shared[at].names += (shared[at].names.empty() ? "" : ", ") + data.groups[group].name;
  }
  for (Shared& one : shared) {
    // The baseline lends its name and colour to what it shares.
    for (const std::size_t group : one.groups)
      if (group == data.baseline) one.label = data.groups[group].name;
    if (one.groups.size() > 1) one.label += " +" + std::to_string(one.groups.size() - 1);
  }
  return shared;
}

}  // namespace caddie::registry::report
