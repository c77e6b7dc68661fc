#include "core/config/points.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <set>

#include "caddie/services.h"
#include "core/config/scalar.h"
#include "core/config/schema.h"
#include "core/config/text.h"

namespace caddie::config {
namespace {

using Axis = std::pair<Override, std::vector<Node>>;  // the path, and its values in turn

// A part of a point's name.
std::string clean(std::string_view text) { return file_name(text.substr(0, 60)); }

// "bits" of "quantize.tensors[match=matrix].bits"
std::string short_key(const std::string& path) { return path.substr(path.find_last_of('.') + 1); }

// "quantize.use" of "quantize.tensors[match=matrix].use"
std::string middle_key(const std::string& path) {
  return path.substr(0, path.find_first_of(".[")) + "." + short_key(path);
}

bool expect_map(const Node& node, const std::string& what, Problems& problems) {
  if (node.is_map()) return true;
  problems.add(node.where, concat("'", what, "' is ", describe(node), ", accepted: a map"));
  return false;
}

void refuse_other_keys(const Node& map, const std::vector<std::string>& keys, const std::string& what,
                       Problems& problems) {
  for (const Entry& entry : map.entries)
    if (std::find(keys.begin(), keys.end(), entry.key) == keys.end())
      problems.add(entry.where, concat("unknown key '", entry.key, "' in '", what, "'"), suggest(entry.key, keys));
}

Override override_at(const Entry& entry) {
  Override change{entry.key, entry.where, entry.value};
  // Inside quotes the path begins one character later.
  if (entry.where.length == characters(entry.key) + 2) ++change.path_where.column;
  return change;
}

std::vector<Axis> axes_of(const Node& map, const std::string& what, Problems& problems) {
  std::vector<Axis> axes;
  if (!expect_map(map, what, problems)) return axes;
  for (const Entry& entry : map.entries) {
    if (entry.value.is_list() && !entry.value.items.empty())
      axes.emplace_back(override_at(entry), entry.value.items);
    else
      problems.add(entry.value.where, concat("'", what, "' holds ", describe(entry.value), " for '", entry.key,
                                             "', accepted: a list of values"));
  }
  return axes;
}

Point point_on(const std::vector<Axis>& axes, const std::function<std::size_t(std::size_t)>& index) {
  Point point;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    Override change = axes[i].first;
    change.value = axes[i].second[index(i)];
    const auto unique = [&](std::string (*key)(const std::string&)) {
      return std::count_if(axes.begin(), axes.end(),
                           [&](const Axis& axis) { return key(axis.first.path) == key(change.path); }) == 1;
    };
    const std::string key = unique(short_key)    ? short_key(change.path)
                            : unique(middle_key) ? middle_key(change.path)
                                                 : change.path;
    const std::string value = change.value.is_scalar() ? change.value.text : flow_text(change.value);
    // A dot in front keeps a leading '-' or '.' of the value: it is not the name's first letter.
    point.name += (i ? "," : "") + clean(key) + "=" +
                  file_name("." + value.substr(0, 60)).substr(1);
    point.changes.push_back(std::move(change));
  }
  return point;
}

std::vector<Point> grid(const Node& map, Problems& problems) {
  const std::vector<Axis> axes = axes_of(map, "grid", problems);
  std::size_t count = axes.empty() ? 0 : 1;
  for (const Axis& axis : axes) {
    count *= axis.second.size();
    if (count > kMaxPoints) {
      problems.add(map.where, concat("'grid' has more than ", kMaxPoints, " combinations"), {}, "random draws some");
      return {};
    }
  }
  std::vector<Point> points;
  for (std::size_t n = 0; n < count; ++n) {
    points.push_back(point_on(axes, [&](std::size_t i) {
      std::size_t rest = n;
      for (std::size_t j = axes.size() - 1; j > i; --j) rest /= axes[j].second.size();
      return rest % axes[i].second.size();
    }));
  }
  return points;
}

std::vector<Point> zip(const Node& map, Problems& problems) {
  const std::vector<Axis> axes = axes_of(map, "zip", problems);
  std::vector<Point> points;
  if (axes.empty()) return points;
  const std::size_t count = axes.front().second.size();
  for (const Axis& axis : axes)
    if (axis.second.size() != count) {
      problems.add(axis.first.path_where, concat("'", axis.first.path, "' has ", axis.second.size(),
                                                 " values, accepted: ", count, ", as many as the first key of 'zip'"));
      return points;
    }
  for (std::size_t n = 0; n < count && n < kMaxPoints; ++n)
    points.push_back(point_on(axes, [&](std::size_t) { return n; }));
  return points;
}

std::optional<Json> number_in(const Node& map, const char* key, const Json& fallback, Problems& problems) {
  const Entry* entry = map.find(key);
  if (!entry) {
    if (fallback.is_null()) problems.add(map.where, concat("'", key, "' is missing"));
    return fallback.is_null() ? std::nullopt : std::optional(fallback);
  }
  Json value = to_json(entry->value);
  if (value.is_number()) return value;
  problems.add(entry->value.where, concat("'", key, "' is ", describe(entry->value), ", accepted: a number"));
  return {};
}

// A value between `min` and `max`, both ends included.
std::optional<Node> draw_between(const Node& range, double uniform, Problems& problems) {
  refuse_other_keys(range, {"min", "max", "scale"}, "space", problems);
  const auto low = number_in(range, "min", nullptr, problems), high = number_in(range, "max", nullptr, problems);
  const Entry* scale = range.find("scale");
  const bool log = scale && scale->value.text == "log";
  if (scale && !log && scale->value.text != "linear") {
    problems.add(scale->value.where, concat("'scale' is ", describe(scale->value), ", accepted: one of linear|log"));
    return {};
  }
  if (!low || !high) return {};
  const bool whole = low->is_number_integer() && high->is_number_integer();
  const double a = low->get<double>(), b = high->get<double>();
  if (a > b || (log && a <= 0)) {
    problems.add(range.where, log ? "a log scale needs 0 < min <= max" : "'min' is above 'max'");
    return {};
  }
  const double top = whole ? b + 1 : b;
  double value = log ? std::exp(std::log(a) + uniform * (std::log(top) - std::log(a))) : a + uniform * (top - a);
  if (whole) value = std::min(std::floor(value), b);
  Node node = range;
  node.kind = Node::Kind::scalar;
  node.entries.clear();
  char text[40];
  std::snprintf(text, sizeof text, whole ? "%.0f" : "%.6g", value);
  node.text = text;
  return node;
}

std::vector<Point> random(const Node& map, Problems& problems) {
  if (!expect_map(map, "random", problems)) return {};
  refuse_other_keys(map, {"trials", "seed", "space"}, "random", problems);
  const auto trials = number_in(map, "trials", nullptr, problems), seed = number_in(map, "seed", 0, problems);
  const Entry* space = map.find("space");
  if (!space) problems.add(map.where, "'random.space' is missing");
  if (!trials || !seed || !space || !expect_map(space->value, "random.space", problems)) return {};
  if (!trials->is_number_integer() || *trials < 1 || *trials > kMaxPoints || !seed->is_number_integer() || *seed < 0) {
    problems.add(map.where, concat("'random' needs from 1 to ", kMaxPoints, " trials and a seed of at least 0"));
    return {};
  }
  std::vector<Point> points;
  for (std::int64_t trial = 0; trial < trials->get<std::int64_t>(); ++trial) {
    Point point{concat("trial_", trial), {}};
    for (const Entry& entry : space->value.entries) {
      // A stream for each value, so that one more key in the space leaves the others as they are.
      Random stream(seed->get<std::uint64_t>(), concat("sweep ", trial, " ", entry.key));
      Override change = override_at(entry);
      const Node& choices = entry.value;
      if (choices.is_list() && !choices.items.empty()) {
        change.value = choices.items[stream.below(choices.items.size())];
      } else if (choices.is_map()) {
        const auto drawn = draw_between(choices, stream.uniform(), problems);
        if (!drawn) return {};
        change.value = *drawn;
      } else {
        problems.add(choices.where, concat("'", entry.key, "' is ", describe(choices),
                                           ", accepted: a list of values, or {min, max, scale}"));
        return {};
      }
      point.changes.push_back(std::move(change));
    }
    points.push_back(std::move(point));
  }
  return points;
}

std::vector<Point> variants(const Node& map, const std::string& what, Problems& problems) {
  std::vector<Point> points;
  if (!expect_map(map, what, problems)) return points;
  for (const Entry& entry : map.entries) {
    if (!is_file_name(entry.key))
      problems.add(entry.where, concat("'", entry.key, "' is no name, accepted: ", kFileName), file_name(entry.key));
    points.push_back({entry.key, changes_of(entry.value, concat(what, ".", entry.key), problems)});
  }
  return points;
}

std::vector<Point> ablate(const Node& map, Problems& problems) {
  std::vector<Point> points;
  if (!expect_map(map, "ablate", problems)) return points;
  refuse_other_keys(map, {"leave_one_out", "add_one_in"}, "ablate", problems);
  for (const Entry& mode : map.entries) {
    const bool leave = mode.key == "leave_one_out";
    if (!leave && mode.key != "add_one_in") continue;
    const std::vector<Point> features = variants(mode.value, concat("ablate.", mode.key), problems);
    const auto combine = [&](std::string name, const std::function<bool(std::size_t)>& chosen) {
      Point point{std::move(name), {}};
      for (std::size_t i = 0; i < features.size(); ++i)
        if (chosen(i))
          point.changes.insert(point.changes.end(), features[i].changes.begin(), features[i].changes.end());
      points.push_back(std::move(point));
    };
    combine(leave ? "all" : "none", [&](std::size_t) { return leave; });
    for (std::size_t one = 0; one < features.size(); ++one)
      combine((leave ? "without_" : "with_") + features[one].name, [&](std::size_t i) { return (i == one) != leave; });
  }
  return points;
}

// Paths of files in a value, made absolute as its own file has it.
void absolutize(Node& node, const Schema* schema) {
  if (!schema || !schema->spec) return;
  const Type type = schema->spec->type;
  if (node.is_map()) {
    for (Entry& entry : node.entries) absolutize(entry.value, schema->find(entry.key));
  } else if (node.is_list()) {
    for (Node& item : node.items) absolutize(item, type == Type::paths ? schema : schema->find("[]"));
  } else if (node.is_scalar() && (type == Type::path || type == Type::paths || type == Type::source)) {
    const auto words = split_choices(schema->spec->choices);
    if (std::find(words.begin(), words.end(), node.text) != words.end()) return;
    node.text = (node.where.source->folder / node.text).lexically_normal().string();
    node.quoted = true;
  }
}

}  // namespace

std::vector<Override> changes_of(const Node& map, const std::string& what, Problems& problems) {
  std::vector<Override> changes;
  if (map.is_null() || !expect_map(map, what, problems)) return changes;
  for (const Entry& entry : map.entries) changes.push_back(override_at(entry));
  return changes;
}

std::vector<Point> points_of(const Node& sweep, const std::string& fallback, Problems& problems) {
  const Entry* chosen = nullptr;
  for (const char* kind : {"variants", "grid", "zip", "random", "ablate"}) {
    const Entry* entry = sweep.find(kind);
    if (entry && chosen)
      problems.add(entry->where, concat("'", kind, "' and '", chosen->key, "' exclude each other"));
    else if (entry)
      chosen = entry;
  }
  if (!chosen) return {{fallback, {}}};
  const std::size_t before = problems.size();
  std::vector<Point> points = chosen->key == "variants" ? variants(chosen->value, "variants", problems)
                              : chosen->key == "grid"   ? grid(chosen->value, problems)
                              : chosen->key == "zip"    ? zip(chosen->value, problems)
                              : chosen->key == "random" ? random(chosen->value, problems)
                                                        : ablate(chosen->value, problems);
  if (points.empty() && problems.size() == before)
    problems.add(chosen->where, concat("'", chosen->key, "' is empty: there is nothing to run"));
  // Values that look alike in a file name still get names of their own.
  std::set<std::string> names;
  for (Point& point : points) {
    point.name = point.name.substr(0, 110);
    const std::string name = point.name;
    for (int n = 2; !names.insert(point.name).second; ++n) point.name = concat(name, "-", n);
  }
  return points;
}

std::string override_text(const Override& change) {
  Node value = change.value;
  absolutize(value, find_schema(change.path));
  return change.path + "=" + flow_text(value);
}

}  // namespace caddie::config
