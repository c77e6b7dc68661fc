// Overrides: "a.b[match=x].c=value", parsed and applied to a tree.
#include <algorithm>
#include <charconv>

#include "core/config/merge.h"
#include "core/config/text.h"

namespace caddie::config {
namespace {

constexpr std::size_t kMaxSegments = 32;

struct Selector {
  std::string key, value;  // [match=x]
  long index = -1;         // [0], if `key` is empty
};

struct Segment {
  std::string key;
  std::vector<Selector> selectors;
  std::size_t offset = 0;  // of `key` in the path, in bytes
  std::string before;      // the path up to here, for messages
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Location at(const Override& change, std::size_t offset, std::size_t length) {
  Location where = change.path_where;
  where.column += characters(std::string_view(change.path).substr(0, offset));
  where.length = std::max(1, characters(std::string_view(change.path).substr(offset, length)));
  return where;
}

std::optional<Selector> parse_selector(const Override& change, std::size_t offset, std::string_view text,
                                       Problems& problems) {
  Selector selector;
  const std::size_t equals = text.find('=');
  if (equals != std::string_view::npos) {
    selector.key = trimmed(text.substr(0, equals));
    selector.value = trimmed(text.substr(equals + 1));
    if (!selector.key.empty()) return selector;
  } else {
    const std::string_view digits = trimmed(text);
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), selector.index);
    if (!digits.empty() && result.ec == std::errc{} && result.ptr == digits.data() + digits.size() &&
        selector.index >= 0)
      return selector;
  }
  problems.add(at(change, offset, text.size() + 2), concat("the selector '[", text, "]' is not understood"), {},
               "[key=value] selects by a value, [0] by position");
  return {};
}

// "a.b[match=x].c" in parts; nothing after a problem.
std::optional<std::vector<Segment>> parse_path(const Override& change, Problems& problems) {
  const std::string_view path = change.path;
  std::vector<Segment> segments;
  std::size_t i = 0;
  while (true) {
    const std::size_t end = std::min(path.find_first_of(".[", i), path.size());
    Segment segment;
    segment.key = trimmed(path.substr(i, end - i));
    segment.offset = i;
    if (segment.key.empty()) {
      problems.add(at(change, i, 1), concat("the path '", path, "' has an empty key"), {}, "write key.path=value");
      return {};
    }
    if (segments.size() >= kMaxSegments) {
      problems.add(at(change, i, 1), concat("the path has more than ", kMaxSegments, " keys"));
      return {};
    }
    i = end;
    while (i < path.size() && path[i] == '[') {
      const std::size_t close = path.find(']', i);
      if (close == std::string_view::npos) {
        problems.add(at(change, i, path.size() - i), "a ']' is missing");
        return {};
      }
      std::optional<Selector> selector = parse_selector(change, i, path.substr(i + 1, close - i - 1), problems);
      if (!selector) return {};
      segment.selectors.push_back(std::move(*selector));
      i = close + 1;
    }
    segment.before = path.substr(0, i);
    segments.push_back(std::move(segment));
    if (i == path.size()) return segments;
    if (path[i] != '.') {
      problems.add(at(change, i, 1), "after a selector comes '.' or '='");
      return {};
    }
    ++i;
  }
}

// "matrix, embedding": the values of `key` in the list's entries.
std::vector<std::string> values_of(const Node& list, const std::string& key) {
  std::vector<std::string> values;
  for (const Node& item : list.items) {
    const Entry* entry = item.is_map() ? item.find(key) : nullptr;
    if (entry && entry->value.is_scalar()) values.push_back(entry->value.text);
  }
  return values;
}

std::vector<Node*> select(Node& list, const Segment& segment, const Selector& selector, const Override& change,
                          Problems& problems) {
  const Location where = at(change, segment.offset, segment.before.size() - segment.offset);
  if (!list.is_list()) {
    problems.add(where, list.is_null() ? concat("'", segment.key, "' is not set: there are no entries to select")
                                       : concat("'", segment.key, "' is not a list, nothing can be selected in it"));
    return {};
  }
  std::vector<Node*> chosen;
  if (selector.key.empty()) {
    if (static_cast<std::size_t>(selector.index) < list.items.size())
      chosen.push_back(&list.items[static_cast<std::size_t>(selector.index)]);
    else
      problems.add(where, concat("'", segment.key, "' has ", list.items.size(), " entries, there is no [",
                                 selector.index, "]"));
    return chosen;
  }
  for (Node& item : list.items) {
    const Entry* entry = item.is_map() ? item.find(selector.key) : nullptr;
    if (entry && entry->value.is_scalar() && entry->value.text == selector.value) chosen.push_back(&item);
  }
  if (chosen.empty()) {
    const std::vector<std::string> values = values_of(list, selector.key);
    std::string there;
    for (const std::string& value : values) there += (there.empty() ? "" : ", ") + value;
    problems.add(where, concat("no entry of '", segment.key, "' has ", selector.key, " '", selector.value, "'"),
                 suggest(selector.value, values),
                 there.empty() ? concat("no entry has the key '", selector.key, "'") : concat("there are: ", there));
  }
  return chosen;
}

// The entry of a map, made if it is not there. Null becomes a map.
Node* child(Node& node, const Segment& segment, const Override& change, int layer, Problems& problems) {
  const Location where = at(change, segment.offset, segment.key.size());
  if (node.is_null()) {
    node = Node{};
    node.kind = Node::Kind::map;
    node.where = where;
    node.layer = layer;
  }
  if (!node.is_map()) {
    if (node.is_list())
      problems.add(where, concat("'", segment.key, "' is looked for in a list"), {},
                   "choose entries with [key=value] or [0]");
    else
      problems.add(where, concat("'", segment.key, "' is looked for in the value '", node.text, "'"));
    return nullptr;
  }
  if (Entry* entry = node.find(segment.key)) return &entry->value;
  Node fresh;
  fresh.where = where;
  fresh.layer = layer;
  node.entries.push_back({segment.key, where, std::move(fresh)});
  return &node.entries.back().value;
}

}  // namespace

std::optional<Override> parse_override(const std::string& text, Problems& problems) {
  auto source = std::make_shared<Source>();
  source->name = "command line";
  source->folder = std::filesystem::current_path();
  source->lines = {text};
  source->command_line = true;
  int depth = 0;
  std::size_t equals = 0;
  for (; equals < text.size(); ++equals) {
    if (text[equals] == '[') ++depth;
    if (text[equals] == ']') --depth;
    if (text[equals] == '=' && depth <= 0) break;
  }
  if (equals == text.size()) {
    problems.add({source, 1, 1, std::max(1, characters(text))}, concat("'", text, "' is not an override"), {},
                 "write key.path=value");
    return {};
  }
  const std::size_t before = problems.size();
  Override change{text.substr(0, equals), {source, 1, 1, 1}, {}};
  change.value = parse_value(std::string_view(text).substr(equals + 1), source, equals + 1, problems);
  if (problems.size() > before) return {};
  return change;
}

std::vector<Json> values_at(const Json& resolved, const Override& where, Problems& problems) {
  std::vector<Json> values;
  const auto segments = parse_path(where, problems);
  if (!segments) return values;
  values.push_back(resolved);
  const auto selected = [](const Json& list, const Selector& selector, std::vector<Json>& chosen) {
    for (std::size_t i = 0; list.is_array() && i < list.size(); ++i) {
      if (selector.key.empty() ? i != static_cast<std::size_t>(selector.index)
                               : !list[i].is_object() || !list[i].contains(selector.key))
        continue;
      const Json& found = selector.key.empty() ? list[i] : list[i][selector.key];
      if (selector.key.empty() || (found.is_string() ? found.get<std::string>() : found.dump()) == selector.value)
        chosen.push_back(list[i]);
    }
  };
  for (const Segment& segment : *segments) {
    std::vector<Json> next;
    for (const Json& value : values) {
      if (!value.is_object() || !value.contains(segment.key)) continue;
      std::vector<Json> chosen{value[segment.key]};
      for (const Selector& selector : segment.selectors) {
        std::vector<Json> some;
        for (const Json& list : chosen) selected(list, selector, some);
        chosen = std::move(some);
      }
      next.insert(next.end(), chosen.begin(), chosen.end());
    }
    values = std::move(next);
  }
  return values;
}

void apply(Node& tree, const Override& change, int layer, Problems& problems) {
  const auto segments = parse_path(change, problems);
  if (!segments) return;
  const std::string& first = segments->front().key;
  if (first == "extends" || first == "caddie") {
    problems.add(at(change, 0, first.size()), concat("'", first, "' belongs to a file and cannot be overridden"));
    return;
  }
  std::vector<Node*> targets{&tree};
  for (const Segment& segment : *segments) {
    std::vector<Node*> next;
    for (Node* target : targets) {
      Node* found = child(*target, segment, change, layer, problems);
      if (!found) return;
      std::vector<Node*> chosen{found};
      for (const Selector& selector : segment.selectors) {
        std::vector<Node*> selected;
        for (Node* list : chosen) {
          const std::vector<Node*> some = select(*list, segment, selector, change, problems);
          if (some.empty()) return;
          selected.insert(selected.end(), some.begin(), some.end());
        }
        chosen = std::move(selected);
      }
      next.insert(next.end(), chosen.begin(), chosen.end());
    }
    targets = std::move(next);
  }
  const bool is_use = segments->back().key == "use" && segments->back().selectors.empty();
  for (Node* target : targets) {
    Node value = change.value;
    set_layer(value, layer);
    // Saying the same `use` again is no change.
    const bool same_use = is_use && target->is_scalar() && value.is_scalar() && target->text == value.text;
    const int before = target->layer;
    merge(*target, std::move(value));
    if (same_use) target->layer = before;
  }
}

}  // namespace caddie::config
