#include "registry/query/diff.h"

namespace caddie::registry {
namespace {

Json without_files(Json plugins) {
  if (plugins.is_object())
    for (auto& [name, facts] : plugins.items())
      if (facts.is_object()) facts.erase("file");
  return plugins;
}

StageDiff diff_stage(const std::string& stage, const RunRecord& a, const RunRecord& b) {
  StageDiff diff{stage, {}, {}, {}};
  const auto facts = [&](const RunRecord& run) { return run.stages.value(stage, Json::object()); };
  diff.key_a = facts(a).value("key", "");
  diff.key_b = facts(b).value("key", "");
  if (diff.key_a != diff.key_b && facts(a).contains("ingredients") && facts(b).contains("ingredients"))
    diff.ingredients = differing(facts(a)["ingredients"], facts(b)["ingredients"]);
  return diff;
}

}  // namespace

std::vector<Differing> differing(const Json& a, const Json& b) {
  const auto left = flatten(a), right = flatten(b);
  std::vector<Differing> found;
  for (const auto& [path, value] : left) {
    const auto other = right.find(path);
    if (other == right.end())
      found.push_back({path, value, nullptr, false, true});
    else if (other->second != value)
      found.push_back({path, value, other->second, false, false});
  }
  for (const auto& [path, value] : right)
    if (!left.contains(path)) found.push_back({path, nullptr, value, true, false});
  std::sort(found.begin(), found.end(), [](const Differing& x, const Differing& y) { return x.path < y.path; });
  return found;
}

RunDiff diff_runs(const RunRecord& a, const RunRecord& b) {
  RunDiff diff;
  diff.manifest = differing(a.resolved, b.resolved);
  diff.plugins = differing(without_files(a.plugins), without_files(b.plugins));
  diff.environment = differing(a.environment, b.environment);
  diff.metrics = differing(a.metrics, b.metrics);
  for (const char* stage : {"data", "train", "quantize", "compress", "evaluate", "ttt"})
    if (a.stages.contains(stage) || b.stages.contains(stage)) diff.stages.push_back(diff_stage(stage, a, b));
  return diff;
}

namespace {

Json list_of(const std::vector<Differing>& all) {
  Json list = Json::array();
  for (const Differing& one : all) list.push_back({{"path", one.path}, {"a", one.a}, {"b", one.b}});
  return list;
}

}  // namespace

Json to_json(const RunDiff& diff) {
  Json stages = Json::array();
  for (const StageDiff& stage : diff.stages) {
    const auto key = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    stages.push_back({{"stage", stage.stage},
                      {"key_a", key(stage.key_a)},
                      {"key_b", key(stage.key_b)},
                      {"same", stage.key_a == stage.key_b},
                      {"first", stage.ingredients.empty() ? Json() : Json(stage.ingredients.front().path)},
                      {"differing", list_of(stage.ingredients)}});
  }
  return {{"manifest", list_of(diff.manifest)},
          {"plugins", list_of(diff.plugins)},
          {"environment", list_of(diff.environment)},
          {"metrics", list_of(diff.metrics)},
          {"stages", stages}};
}

}  // namespace caddie::registry
