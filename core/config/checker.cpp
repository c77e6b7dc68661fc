#include "core/config/checker.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/config/options.h"
#include "core/config/scalar.h"
#include "core/config/text.h"

namespace caddie::config {
namespace {

// "train.stop" for messages; the top level has no name.
std::string join(const std::string& path, const std::string& key) {
  if (path.empty()) return key;
  return key.starts_with('[') ? path + key : path + "." + key;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

class Checker {
 public:
  Checker(const ComponentSchemas& schemas, Problems& problems, Checked& out)
      : schemas_(schemas), problems_(problems), out_(out) {}

  // `node` is null where the key is absent; `parent` is where a missing key is reported.
  Json value(const Node* node, const Schema& schema, const std::string& path, const Location& parent) {
    switch (schema.spec->type) {
      case Type::section: return section(node, schema, path, parent);
      case Type::optional:
        if (node ? node->is_null() : schema.nullable()) return leaf(path, node, nullptr);
        return section(node, schema, path, parent);
      case Type::entries: return entries(node, schema, path, parent);
      case Type::component: return component(node, schema, path, parent);
      default: break;
    }
    if (!node) return fallback(schema, path, parent);
    switch (schema.spec->type) {
      case Type::name: return name(*node, path);
      case Type::path:
      case Type::source:
      case Type::paths: return paths(*node, schema, path);
      case Type::texts: return texts(*node, path);
      case Type::count: return count(*node, path);
      default: return option(*node, schema.option(), path, concat("'", path, "'"));
    }
  }

  Json map(const Node* node, const Schema& schema, const std::string& path, const Location& parent) {
    Json result = Json::object();
    for (const Schema& child : schema.children) {
      const Entry* entry = node ? node->find(child.key) : nullptr;
      const std::string child_path = join(path, child.key);
      result[child.key] = value(entry ? &entry->value : nullptr, child, child_path, entry ? entry->where : parent);
    }
    if (node)
      for (const Entry& entry : node->entries)
        if (!schema.find(entry.key)) unknown_key(entry, schema, path);
    return result;
  }

 private:
  Json leaf(const std::string& path, const Node* node, Json json) {
    out_.origins[path] = node ? origin_of(node->where) : "default";
    return json;
  }

  Json fallback(const Schema& schema, const std::string& path, const Location& parent) {
    if (schema.required()) {
      problems_.add(parent, concat("'", path, "' is missing"));
      return nullptr;
    }
    return leaf(path, nullptr, normalized(Json::parse(schema.spec->fallback), schema.option()));
  }

  void wrong(const Node& node, const std::string& path, const std::string& accepted, std::string suggestion = {},
             std::string note = {}) {
    problems_.add(node.where, concat("'", path, "' is ", describe(node), ", accepted: ", accepted),
                  std::move(suggestion), std::move(note));
  }

  // A section that is absent or null has its defaults; one that holds required keys must be there.
  Json section(const Node* node, const Schema& schema, const std::string& path, const Location& parent) {
    if (node && node->is_map()) return map(node, schema, path, parent);
    if (node && !node->is_null()) {
      wrong(*node, path, "a map of keys and values");
      return nullptr;
    }
    if (schema.required()) {
      problems_.add(parent, concat("the section '", path, "' is missing"));
      return nullptr;
    }
    return map(nullptr, schema, path, parent);
  }

  Json entries(const Node* node, const Schema& schema, const std::string& path, const Location& parent) {
    if (!node || (node->is_null() && !schema.required())) return fallback(schema, path, parent);
    if (!node->is_list()) {
      wrong(*node, path, "a list", {}, "begin each entry with '- '");
      return nullptr;
    }
    Json result = Json::array();
    const Schema& element = *schema.find("[]");
    for (std::size_t i = 0; i < node->items.size(); ++i) {
      const Node& item = node->items[i];
      const std::string item_path = concat(path, "[", i, "]");
      if (element.is_component())
        result.push_back(component(&item, element, item_path, item.where));
      else if (item.is_map())
        result.push_back(map(&item, element, item_path, item.where));
      else
        wrong(item, item_path, "a map of keys and values");
    }
    if (node->items.empty()) leaf(path, node, nullptr);
    return result;
  }

  Json component(const Node* node, const Schema& schema, const std::string& path, const Location& parent) {
    if ((!node || node->is_null()) && schema.nullable()) return leaf(path, node, nullptr);
    const char* kind = kind_word(schema.kind());
    if (!node || node->is_null()) {
      problems_.add(parent, concat("the section '", path, "' is missing"));
      return nullptr;
    }
    if (!node->is_map()) {
      wrong(*node, path, concat("a map with 'use' and the options of a plugin"));
      return nullptr;
    }
    const Entry* use = node->find("use");
    if (!use) {
      problems_.add(parent, concat("'", path, ".use' is missing: which ", kind, "?"), {},
                    available(schema.kind()));
      return nullptr;
    }
    const Component* plugin = use->value.is_scalar() ? schemas_.find(schema.kind(), use->value.text) : nullptr;
    if (!plugin) {
      unknown_component(*use, schema.kind());
      return nullptr;
    }
    leaf(path + ".use", &use->value, nullptr);
    return filled(*node, *use, *plugin, schema, path, parent);
  }

  Json filled(const Node& node, const Entry& use, const Component& plugin, const Schema& schema,
              const std::string& path, const Location& parent) {
    Json result = {{"use", use.value.text}};
    const std::string whose = concat(kind_word(schema.kind()), " '", plugin.name, "'");
    std::vector<std::string> keys = child_keys(schema);
    for (const Schema& child : schema.children) {
      const Entry* entry = node.find(child.key);
      result[child.key] = value(entry ? &entry->value : nullptr, child, join(path, child.key), parent);
    }
    for (const OptionSpec& spec : std::span(plugin.options, plugin.option_count)) {
      if (schema.find(spec.key)) continue;  // the core's key; the plugin is handed its value
      keys.emplace_back(spec.key);
      const Entry* entry = node.find(spec.key);
      const std::string option_path = join(path, spec.key);
      if (entry)
        result[spec.key] = option(entry->value, spec, option_path, concat("the option '", spec.key, "' of ", whose));
      else if (spec.fallback)
        result[spec.key] = leaf(option_path, nullptr, normalized(option_default(spec), spec));
      else
        problems_.add(use.value.where, concat("the option '", spec.key, "' of ", whose, " is missing"), {},
                      concat("accepted: ", option_accepts(spec)));
    }
    for (const Entry& entry : node.entries) {
      if (entry.key == "use" || std::find(keys.begin(), keys.end(), entry.key) != keys.end()) continue;
      if (entry.value.layer < use.value.layer) {
        out_.notes.push_back(concat(path, ": '", entry.key, "' (", origin_of(entry.where), ") is dropped, ", whose,
                                    " does not have it"));
        continue;
      }
      problems_.add(entry.where, concat("unknown option '", entry.key, "' for ", whose), suggest(entry.key, keys),
                    concat("caddie plugin info ", plugin.name, " lists all"));
    }
    return result;
  }

  // Asked for in errors only: the catalogue opens every plugin for it.
  std::string available(PluginKind kind) const { return concat("available: ", listed(schemas_.names(kind))); }

  void unknown_component(const Entry& use, PluginKind kind) {
    const Node& node = use.value;
    if (!node.is_scalar()) return wrong(node, "use", concat("the name of a ", kind_word(kind)));
    std::string note = available(kind);
    for (PluginKind other : {PluginKind::model, PluginKind::optimizer, PluginKind::quantizer, PluginKind::compressor,
                             PluginKind::ttt}) {
      const auto others = schemas_.names(other);
      if (std::find(others.begin(), others.end(), node.text) != others.end())
        note = concat("'", node.text, "' is ", other == PluginKind::optimizer ? "an " : "a ", kind_word(other), "; ",
                      note);
    }
    const auto candidates = schemas_.names(kind);
    const std::string searched = candidates.empty() ? schemas_.searched() : "";
    if (!searched.empty()) note += "; " + searched;
    problems_.add(node.where, concat("unknown ", kind_word(kind), " '", node.text, "'"),
                  suggest(node.text, candidates), note);
  }

  void unknown_key(const Entry& entry, const Schema& schema, const std::string& path) {
    const std::vector<std::string> keys = child_keys(schema);
    const std::string suggestion = suggest(entry.key, keys);
    std::string note;
    if (suggestion.empty()) {
      // Perhaps a known key in another section.
      for (const KeySpec& spec : key_table()) {
        const std::string_view known = spec.path;
        if (note.empty() && known.ends_with(concat(".", entry.key)) && known.find("[]") == std::string_view::npos)
          note = concat("the key '", known, "' exists");
      }
      if (note.empty()) note = keys.empty() ? "it has no keys" : concat("accepted: ", listed(keys));
    }
    problems_.add(entry.where, concat("unknown key '", entry.key, "'", path.empty() ? "" : concat(" in '", path, "'")),
                  suggestion, note);
  }

  // Numbers are stored as numbers whatever they were written as, so that 1 and 1.0 give the same resolved manifest.
  static Json normalized(Json json, const OptionSpec& spec) {
    if (spec.type == OptionType::number && json.is_number()) return json.get<double>();
    if (spec.type == OptionType::numbers && json.is_array())
      for (Json& item : json)
        if (item.is_number()) item = item.get<double>();
    return json;
  }

  Json option(const Node& node, const OptionSpec& spec, const std::string& path, const std::string& whose) {
    if (spec.type == OptionType::numbers && node.is_list()) {
      Json list = Json::array();
      for (const Node& item : node.items) {
        const Json number = to_json(item);
        const std::string fault = option_fault(spec, Json::array({number}));
        if (fault.empty())
          list.push_back(number.get<double>());
        else
          problems_.add(item.where, concat(whose, " holds ", describe(item), ", accepted: ", option_accepts(spec)));
      }
      return leaf(path, &node, std::move(list));
    }
    // A text is taken as it is written: `name: 2024` is the text "2024".
    const Json json = spec.type == OptionType::text && node.is_scalar() ? Json(node.text) : to_json(node);
    const std::string fault = option_fault(spec, json);
    if (fault.empty()) return leaf(path, &node, normalized(json, spec));
    const std::string accepted = concat(", accepted: ", option_accepts(spec));
    std::string suggestion, note, message = concat(whose, " is ", describe(node), accepted);
    if (node.is_scalar() && spec.type == OptionType::text) {
      suggestion = suggest(node.text, split_choices(spec.choices));
    } else if (node.is_scalar()) {
      const Plain plain = plain_value(node.text);
      suggestion = node.quoted && option_fault(spec, plain.value).empty() ? node.text : plain.suggestion;
      if (node.quoted && !suggestion.empty()) note = "without quotes";
      if (!node.quoted && !plain.trap.empty()) message = concat(whose, ": ", plain.trap, accepted);
      if (spec.type == OptionType::integer && json.is_number_float()) suggestion = whole_number(json.get<double>());
    }
    problems_.add(node.where, message, suggestion, note);
    return nullptr;
  }

  static std::string whole_number(double number) {
    if (std::abs(number) > 9e15 || number != std::floor(number)) return {};
    return std::to_string(static_cast<std::int64_t>(number));
  }

  Json name(const Node& node, const std::string& path) {
    if (node.is_scalar() && is_file_name(node.text)) return leaf(path, &node, node.text);
    wrong(node, path, kFileName, node.is_scalar() ? file_name(node.text) : "");
    return nullptr;
  }

  Json absolute(const Node& node) const {
    const std::filesystem::path given(node.text);
    return (given.is_absolute() ? given : node.where.source->folder / given).lexically_normal().string();
  }

  Json paths(const Node& node, const Schema& schema, const std::string& path) {
    const bool many = schema.spec->type == Type::paths;
    if (node.is_null()) return leaf(path, &node, nullptr);
    if (node.is_scalar() && !node.text.empty()) {
      const auto words = split_choices(schema.spec->choices);
      if (std::find(words.begin(), words.end(), node.text) != words.end()) return leaf(path, &node, node.text);
      const Json file = absolute(node);
      return leaf(path, &node, many ? Json::array({file}) : file);
    }
    if (!many || !node.is_list() || node.items.empty()) {
      wrong(node, path, many ? "a path, or a list of paths" : "a path");
      return nullptr;
    }
    Json result = Json::array();
    for (const Node& item : node.items) {
      if (item.is_scalar() && !item.text.empty())
        result.push_back(absolute(item));
      else
        wrong(item, path, "a path");
    }
    return leaf(path, &node, std::move(result));
  }

  Json texts(const Node& node, const std::string& path) {
    if (node.is_null()) return leaf(path, &node, Json::array());
    if (node.is_scalar()) return leaf(path, &node, Json::array({node.text}));
    if (!node.is_list()) {
      wrong(node, path, "a list of texts");
      return nullptr;
    }
    Json result = Json::array();
    for (const Node& item : node.items) {
      if (item.is_scalar())
        result.push_back(item.text);
      else
        wrong(item, path, "a text");
    }
    return leaf(path, &node, std::move(result));
  }

  Json count(const Node& node, const std::string& path) {
    const Json json = to_json(node);
    if (json == "all" || (json.is_number_integer() && json.get<std::int64_t>() >= 1)) return leaf(path, &node, json);
    const bool whole = json.is_number_float();
    wrong(node, path, "all, or an integer of at least 1", whole ? whole_number(json.get<double>()) : "");
    return nullptr;
  }

  const ComponentSchemas& schemas_;
  Problems& problems_;
  Checked& out_;
};

}  // namespace

std::string origin_of(const Location& where) {
  if (!where.source) return "default";
  if (where.source->command_line) return "command line: " + where.source->lines.front();
  return concat(where.source->name, ":", where.line);
}

Checked check(const Node& tree, const Location& whole, const ComponentSchemas& schemas, Problems& problems) {
  Checked checked;
  Checker checker(schemas, problems, checked);
  checked.resolved = checker.map(&tree, core_schema(), "", whole);
  return checked;
}

}  // namespace caddie::config
