#include "registry/query/explain.h"

#include <algorithm>
#include <map>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/suggest.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

// A result of the stage that could have been used.
struct Other {
  Json ingredients;
  std::string run;
  bool cached = false;
};

// An entry of the cache holds one score; the evaluate stage of a run has several, by metric.
void add_entries(const fs::path& root, const std::string& stage, const std::string& before,
                 const std::string& own_key, std::map<std::string, Other>& others) {
  std::error_code code;
  for (auto item = fs::recursive_directory_iterator(root / stage, code);
       !code && item != fs::recursive_directory_iterator(); item.increment(code)) {
    if (item.depth() == 2 && item->is_directory()) item.disable_recursion_pending();
    if (item.depth() != 2 || item->path().filename() != "entry.json") continue;
    try {
      const Json entry = read_json(item->path());
      // Stamps count whole seconds: the same one may be later. The key that was a hit was there.
      if (entry.value("written", "") >= before && entry.at("key") != own_key) continue;
      Other& other = others[entry.at("key").get<std::string>()];
      other.ingredients = entry.at("ingredients");
      other.cached = true;
      if (other.run.empty()) other.run = entry.value("run", std::string());  // who made it
    } catch (const std::exception&) {  // a damaged entry explains nothing
    }
  }
}

void add_run(const RunRecord& run, const std::string& stage, std::map<std::string, Other>& others) {
  const auto facts = run.stages.find(stage);
  if (facts == run.stages.end() || !facts->contains("ingredients")) return;
  Other& other = others[facts->at("key").get<std::string>()];
  other.ingredients = facts->at("ingredients");
  if (other.run.empty()) other.run = run.id;
}

}  // namespace

StageExplanation explain_stage(const fs::path& runs, const fs::path& cache, const std::string& name,
                               const std::string& stage, const std::string& against) {
  static const std::vector<std::string> stages = {"data", "train", "quantize", "compress", "evaluate", "ttt"};
  if (std::find(stages.begin(), stages.end(), stage) == stages.end()) {
    const std::string guess = closest(stage, stages);
    throw Error(
        ErrorKind::usage, concat("unknown stage '", stage, "'"),
        guess.empty() ? "accepted: data, train, quantize, compress, evaluate, ttt" : "did you mean '" + guess + "'?");
  }
  const RunRecord run = load_run(find_run(runs, name));
  if (!run.stages.contains(stage))
    throw Error(ErrorKind::usage, concat("the run ", run.id, " has not done the stage ", stage),
                "caddie runs show says what it has done; caddie plan MANIFEST says what would be computed.");
  const Json& facts = run.stages.at(stage);
  if (!facts.contains("ingredients"))
    throw Error(ErrorKind::data, concat("the run ", run.id, " does not say what its keys were made of"),
                "It is older than that record; run it again, which costs nothing where the cache holds its stages.");
  StageExplanation explanation;
  explanation.run = run.id;
  explanation.stage = stage;
  explanation.key = facts.at("key");
  explanation.hit = facts.at("cached");
  explanation.seconds = facts.value("computed_seconds", 0.0);

  std::map<std::string, Other> others;
  if (!against.empty()) {
    add_run(load_run(find_run(runs, against)), stage, others);
    if (others.empty())
      throw Error(ErrorKind::usage, concat("the run ", against, " has no key of the stage ", stage),
                  "Choose another with --against.");
  } else {
    if (stage != "evaluate") add_entries(cache, stage, explanation.hit ? run.updated : run.started, explanation.key, others);
    for (const RunRecord& other : scan_runs(runs).runs)
      if (other.id != run.id && other.started < run.started) add_run(other, stage, others);
  }
  explanation.compared = others.size();
  const Other* nearest = nullptr;
  for (const auto& [key, other] : others) {
    // Made by this run itself, within the second in which it began.
    if (key == explanation.key && !explanation.hit && (other.run.empty() || other.run == run.id)) continue;
    if (key == explanation.key) {
      explanation.other_key = key;
      explanation.differing.clear();
      nearest = &other;
      break;
    }
    auto found = differing(other.ingredients, facts["ingredients"]);
    if (nearest && found.size() >= explanation.differing.size()) continue;
    nearest = &other;
    explanation.other_key = key;
    explanation.differing = std::move(found);
  }
  if (nearest) {
    explanation.other_run = nearest->run;
    explanation.other_in_cache = nearest->cached;
  }
  return explanation;
}

Json to_json(const StageExplanation& explanation) {
  Json list = Json::array();
  for (const Differing& one : explanation.differing)
    list.push_back({{"path", one.path}, {"other", one.a}, {"this", one.b}});
  const auto text = [](const std::string& value) { return value.empty() ? Json() : Json(value); };
  return {{"run", explanation.run},
          {"stage", explanation.stage},
          {"key", explanation.key},
          {"cached", explanation.hit},
          {"seconds", explanation.seconds},
          {"compared", explanation.compared},
          {"other",
           {{"key", text(explanation.other_key)},
            {"run", text(explanation.other_run)},
            {"in_cache", explanation.other_in_cache}}},
          {"differing", list}};
}

}  // namespace caddie::registry
