// The core's keys of a manifest as one table: where, what type, default, range, choices, and a line for people. The
// checker, the JSON Schema and `config show` all read it. Plugins have their own. Internal to config.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "caddie/options.h"
#include "caddie/plugin.h"

namespace caddie::config {

enum class Type {
  boolean,
  integer,
  number,
  text,
  name,      // a text that may be part of a file name
  path,      // of a file; made absolute
  source,    // as path, or one of the choices
  paths,     // one path or pattern, or a list of them; made absolute
  texts,     // a list of texts
  count,     // "all", or an integer of at least 1
  section,   // a map; null means its defaults
  optional,  // a map, or null: not wanted
  entries,   // a list; its elements are described by the path with [] behind it
  component  // a map with `use` and the options of that plugin; `choices` names the kind
};

struct KeySpec {
  const char* path;      // "train.stop.seconds"; "[]" stands for an element of a list
  Type type;
  const char* fallback;  // JSON; nullptr: must be given; "null": may be null
  const char* minimum;
  const char* maximum;
  const char* choices;   // "a|b"; for a component its kind
  const char* doc;
};

// The table as a tree.
struct CADDIE_API Schema {
  const KeySpec* spec = nullptr;  // null for the root only
  std::string key;                // last part of the path; "[]" for elements
  std::vector<Schema> children;

  const Schema* find(std::string_view child) const;
  bool required() const { return !spec->fallback; }
  bool nullable() const { return spec->fallback && std::string_view(spec->fallback) == "null"; }
  // A map whose plugin is chosen by `use`; an optional one may be null as well.
  bool is_component() const { return spec && spec->type == Type::component; }
  PluginKind kind() const;  // of a component
  OptionSpec option() const;  // of boolean, integer, number, text
};

CADDIE_API std::span<const KeySpec> key_table();
CADDIE_API const Schema& core_schema();
// The schema of a path such as "quantize.tensors[match=matrix].bits", or null (a plugin's option has none).
CADDIE_API const Schema* find_schema(std::string_view path);
const char* kind_word(PluginKind kind);  // "optimizer"
std::vector<std::string> child_keys(const Schema& schema);
std::vector<std::string> split_choices(const char* choices);

}  // namespace caddie::config
