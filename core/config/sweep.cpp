// Reads and checks sweeps.
#include "core/config/sweep.h"

#include <algorithm>
#include <utility>

#include "core/config/points.h"
#include "core/config/resolve.h"
#include "core/config/scalar.h"
#include "core/config/text.h"

namespace caddie {
namespace fs = std::filesystem;
namespace config {
namespace {

const std::vector<std::string> kSweepKeys = {"caddie", "sweep", "base", "seeds",  "overrides",
                                             "variants", "grid", "zip", "random", "ablate", "exclude", "exclusive"};

std::vector<std::int64_t> seeds_of(const Node& value, Problems& problems) {
  std::vector<std::int64_t> seeds;
  if (value.is_list() ? value.items.empty() : !value.is_scalar()) {
    problems.add(value.where, concat("'seeds' is ", describe(value), ", accepted: a list of integers"));
    return seeds;
  }
  const std::vector<Node> one{value};
  for (const Node& item : value.is_list() ? value.items : one) {
    const Json seed = to_json(item);
    if (!seed.is_number_integer() || seed < 0)
      problems.add(item.where, concat("'seeds' holds ", describe(item), ", accepted: integers of at least 0"));
    else if (std::find(seeds.begin(), seeds.end(), seed.get<std::int64_t>()) != seeds.end())
      problems.add(item.where, concat("the seed ", seed.dump(), " is given twice"));
    else
      seeds.push_back(seed.get<std::int64_t>());
  }
  return seeds;
}

// A text that must be there.
std::string text_of(const Node& sweep, const char* key, const Location& whole, Problems& problems) {
  const Entry* entry = sweep.find(key);
  const bool is_name = std::string_view(key) == "sweep";
  if (entry && entry->value.is_scalar() && !entry->value.text.empty()) {
    if (is_name && !is_file_name(entry->value.text))
      problems.add(entry->value.where, concat("'sweep' is ", describe(entry->value), ", accepted: ", kFileName),
                   file_name(entry->value.text));
    return entry->value.text;
  }
  problems.add(entry ? entry->value.where : whole,
               concat("'", key, "' is ", entry ? describe(entry->value) : "missing"), {},
               is_name ? "the sweep's name" : "the manifest that the runs start from");
  return {};
}

// One map of `exclude`: all of it must hold.
struct Condition {
  std::vector<Override> paths;  // their values are lists
  std::vector<bool> found;      // whether a path stands in any point's manifest
};

std::vector<Condition> conditions_of(const Node& sweep, Problems& problems) {
  std::vector<Condition> conditions;
  const Entry* entry = sweep.find("exclude");
  if (!entry) return conditions;
  if (!entry->value.is_list())
    problems.add(entry->value.where, concat("'exclude' is ", describe(entry->value), ", accepted: a list of maps"), {},
                 "exclude: [{path: value}]");
  for (const Node& item : entry->value.items) {
    Condition condition{changes_of(item, "exclude", problems), {}};
    if (condition.paths.empty()) continue;
    condition.found.resize(condition.paths.size());
    conditions.push_back(std::move(condition));
  }
  return conditions;
}

bool accepts(const Node& wanted, const Json& value) {
  const Json json = to_json(wanted);
  return json == value || (json.is_array() && std::find(json.begin(), json.end(), value) != json.end());
}

// What stands at a path: a value of the point itself as it is written, which may be one that is not accepted.
std::vector<Json> values_of(const Point& point, const Json& resolved, const Override& path, Problems& problems) {
  for (auto change = point.changes.rbegin(); change != point.changes.rend(); ++change)
    if (change->path == path.path) return {to_json(change->value)};
  return values_at(resolved, path, problems);
}

bool holds(Condition& condition, const Point& point, const Json& resolved, Problems& problems) {
  bool all = true;
  for (std::size_t i = 0; i < condition.paths.size(); ++i) {
    const std::vector<Json> values = values_of(point, resolved, condition.paths[i], problems);
    if (!values.empty()) condition.found[i] = true;
    all = all && std::any_of(values.begin(), values.end(),
                             [&](const Json& value) { return accepts(condition.paths[i].value, value); });
  }
  return all;
}

// Whether all of the sweep's seeds of a point are left out; `without` are those that are.
bool excluded(std::vector<Condition>& conditions, const Point& point, Json resolved,
              const std::vector<std::int64_t>& seeds, std::vector<std::int64_t>& without, Problems& problems) {
  const auto any = [&] {
    bool found = false;
    for (Condition& condition : conditions) found = holds(condition, point, resolved, problems) || found;
    return found;
  };
  if (seeds.empty()) return any();
  for (const std::int64_t seed : seeds) {
    resolved["seed"] = seed;
    if (any()) without.push_back(seed);
  }
  return without.size() == seeds.size();
}

// Marks the variants that `exclusive` names, or all.
void mark_exclusive(const Node& tree, std::vector<Sweep::Variant>& variants, Problems& problems) {
  const Entry* entry = tree.find("exclusive");
  if (!entry) return;
  const Json value = to_json(entry->value);
  if (value.is_boolean()) {
    for (Sweep::Variant& variant : variants) variant.exclusive = value.get<bool>();
    return;
  }
  if (!entry->value.is_list())
    problems.add(entry->value.where,
                 concat("'exclusive' is ", describe(entry->value), ", accepted: true, false or a list of variants"));
  std::vector<std::string> names;
  for (const Sweep::Variant& variant : variants) names.push_back(variant.name);
  for (const Node& item : entry->value.items) {
    const auto found = std::find(names.begin(), names.end(), item.text);
    if (found == names.end())
      problems.add(item.where, concat("no variant has the name ", describe(item)), suggest(item.text, names));
    else
      variants[static_cast<std::size_t>(found - names.begin())].exclusive = true;
  }
}

bool same(const Problem& a, const Problem& b) {
  return a.file == b.file && a.line == b.line && a.column == b.column && a.message == b.message;
}

// Checks one point on the base. What is wrong only with this point, and shown elsewhere, is told with its name.
Checked check_point(const Chain& base, const Point& point, const std::vector<Override>& common,
                    const ComponentSchemas& schemas, const std::string& sweep_name,
                    const std::vector<Problem>& known, Problems& problems) {
  Node tree = base.tree;
  Problems found;
  int layer = static_cast<int>(base.sources.size());
  for (const Override& change : common) apply(tree, change, layer++, found);
  for (const Override& change : point.changes) apply(tree, change, layer++, found);
  Checked checked = resolve(base, tree, schemas, found);
  for (Problem& problem : found.sorted({})) {
    const bool told = std::any_of(known.begin(), known.end(), [&](const Problem& k) { return same(k, problem); });
    if (told) continue;
    if (problem.file != sweep_name && !point.name.empty())
      problem.note += concat(problem.note.empty() ? "" : "   ", "in '", point.name, "'");
    problems.add(std::move(problem));
  }
  return checked;
}

}  // namespace
}  // namespace config

bool is_sweep(const fs::path& file) {
  config::Problems ignored;
  const auto document = config::read_document(file, file.string(), ignored);
  return document && document->tree.find("sweep");
}

Sweep load_sweep(const fs::path& file, const ComponentSchemas& schemas, std::span<const std::string> overrides) {
  using namespace config;
  Problems problems;
  const std::string shown = file.lexically_normal().string();
  const Location whole = whole_file(shown);
  auto document = read_document(file, shown, problems);
  if (!document) throw ManifestError(problems.sorted({shown}));
  const Node& tree = document->tree;
  // Told in one line, not key by key: it is the wrong kind of manifest.
  if (!tree.find("sweep") && !tree.find("base"))
    for (const char* of_a_run : {"extends", "model", "train", "data"})
      if (const Entry* entry = tree.find(of_a_run)) {
        problems.add(entry->where, "this is a manifest of one run, accepted here: a sweep", {},
                     "caddie run takes it; a sweep has the keys sweep and base");
        throw ManifestError(problems.sorted({shown}));
      }
  for (const Entry& entry : tree.entries)
    if (std::find(kSweepKeys.begin(), kSweepKeys.end(), entry.key) == kSweepKeys.end())
      problems.add(entry.where, concat("unknown key '", entry.key, "' in a sweep"), suggest(entry.key, kSweepKeys));
  if (const Entry* version = tree.find("caddie"); version && to_json(version->value) != 1)
    problems.add(version->value.where, concat("'caddie' is ", describe(version->value), ", accepted: 1"));

  Sweep sweep;
  sweep.file = fs::absolute(file).lexically_normal();
  sweep.text = document->text;
  sweep.name = text_of(tree, "sweep", whole, problems);
  if (const Entry* seeds = tree.find("seeds")) sweep.seeds = seeds_of(seeds->value, problems);
  const std::string base_text = text_of(tree, "base", whole, problems);
  std::vector<Override> common;
  if (const Entry* entry = tree.find("overrides")) common = changes_of(entry->value, "overrides", problems);
  for (const std::string& text : overrides) {
    auto change = parse_override(text, problems);
    if (change && change->path == "seeds")
      sweep.seeds = seeds_of(change->value, problems);
    else if (change)
      common.push_back(std::move(*change));
  }
  const std::string base_name = base_text.empty() ? "base" : file_name(fs::path(base_text).stem().string());
  const std::vector<Point> points = points_of(tree, base_name, problems);
  std::vector<Condition> conditions = conditions_of(tree, problems);
  if (base_text.empty()) throw ManifestError(problems.sorted({shown}));

  const fs::path base_path = fs::path(base_text).is_absolute() ? fs::path(base_text) : file.parent_path() / base_text;
  const Chain base = load_chain(base_path, problems, tree.find("base")->value.where);
  std::vector<std::string> order{shown};
  order.emplace_back("command line");
  order.insert(order.end(), base.names.begin(), base.names.end());
  if (!base.readable) throw ManifestError(problems.sorted(order));
  sweep.base = base.sources.front();

  // What is wrong with the base, or with the common overrides, is told once.
  Problems of_base;
  check_point(base, {}, {}, schemas, shown, {}, of_base);
  std::vector<Problem> known = of_base.sorted(order);
  check_point(base, {}, common, schemas, shown, known, of_base);
  known = of_base.sorted(order);
  for (const Problem& problem : known) problems.add(problem);
  for (const Point& point : points) {
    Problems of_point;
    Checked checked = check_point(base, point, common, schemas, shown, known, of_point);
    Sweep::Variant variant{point.name, {}, 0, std::move(checked.resolved), {}, false};
    if (const Json& seed = variant.resolved["seed"]; seed.is_number()) variant.seed = seed.get<std::int64_t>();
    // A combination that is left out may be one that makes no sense.
    if (excluded(conditions, point, variant.resolved, sweep.seeds, variant.without_seeds, problems)) continue;
    for (Problem& problem : of_point.sorted({})) problems.add(std::move(problem));
    for (const std::vector<Override>* changes : {&std::as_const(common), &point.changes})
      for (const Override& change : *changes) {
        variant.overrides.push_back(override_text(change));
        if (change.path == "seed" && !sweep.seeds.empty())
          problems.add(change.path_where, "'seed' is overridden, and the sweep has 'seeds'");
      }
    sweep.variants.push_back(std::move(variant));
  }
  for (const Condition& condition : conditions)
    for (std::size_t i = 0; i < condition.paths.size(); ++i)
      if (!condition.found[i])
        problems.add(condition.paths[i].path_where,
                     concat("'", condition.paths[i].path, "' stands in the manifest of no run of this sweep"));
  if (sweep.variants.empty() && !points.empty() && problems.empty())
    problems.add(tree.find("exclude")->where, "'exclude' leaves nothing to run");
  mark_exclusive(tree, sweep.variants, problems);
  if (!problems.empty()) throw ManifestError(problems.sorted(order));
  return sweep;
}

std::vector<SweepRun> expand(const Sweep& sweep) {
  std::vector<SweepRun> runs;
  for (const Sweep::Variant& variant : sweep.variants) {
    if (sweep.seeds.empty()) runs.push_back({variant.name, variant.seed, variant.overrides, variant.exclusive});
    for (std::int64_t seed : sweep.seeds) {
      const auto& without = variant.without_seeds;
      if (std::find(without.begin(), without.end(), seed) != without.end()) continue;
      runs.push_back({variant.name, seed, variant.overrides, variant.exclusive});
      runs.back().overrides.push_back(concat("seed=", seed));
    }
  }
  return runs;
}

}  // namespace caddie
