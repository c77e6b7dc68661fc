#include "core/config/override_keys.h"

#include <map>

#include "core/config/schema.h"

namespace caddie {
namespace {

using config::Schema;
using config::Type;

class Collector {
 public:
  explicit Collector(const ComponentSchemas& schemas) : schemas_(schemas) {}

  void walk(const Schema& schema, const std::string& path) {
    for (const Schema& child : schema.children) {
      if (child.key == "[]") {
        if (child.find("match") == nullptr) continue;  // its elements have no names: the list is set as a whole
        for (const char* match : matches(path)) node(child, path + "[match=" + match + "]");
      } else {
        node(child, path.empty() ? child.key : path + "." + child.key);
      }
    }
  }

  std::vector<OverrideKey> keys() const {
    std::vector<OverrideKey> keys;
    for (const auto& [path, key] : keys_) keys.push_back(key);
    return keys;
  }

 private:
  static std::vector<const char*> matches(const std::string& path) {
    if (path == "train.fake_quant") return {"attention", "mlp"};
    if (path == "quantize.tensors") return {"matrix", "embedding"};
    return {"matrix", "embedding", "vector"};
  }

  void node(const Schema& schema, const std::string& path) {
    if (schema.is_component()) component(schema.kind(), path);
    else if (schema.children.empty() || schema.spec->type == Type::entries)
      add(path, values_of(schema), schema.spec->doc);
    walk(schema, path);
  }

  static std::vector<std::string> values_of(const Schema& schema) {
    if (schema.spec->type == Type::boolean) return {"true", "false"};
    if (schema.spec->type == Type::optional) return {"null"};
    return schema.spec->choices ? config::split_choices(schema.spec->choices) : std::vector<std::string>{};
  }

  void component(PluginKind kind, const std::string& path) {
    const std::vector<std::string> names = schemas_.names(kind);
    add(path + ".use", names, "the plugin");
    for (const std::string& name : names) {
      const Component* found = schemas_.find(kind, name);
      if (found == nullptr) continue;
      for (std::size_t i = 0; i < found->option_count; ++i) {
        const OptionSpec& option = found->options[i];
        std::vector<std::string> values;
        if (option.choices) values = config::split_choices(option.choices);
        else if (option.type == OptionType::boolean) values = {"true", "false"};
        add(path + "." + option.key, values, option.doc);
      }
    }
  }

  void add(const std::string& path, std::vector<std::string> values, const std::string& doc) {
    keys_.try_emplace(path, OverrideKey{path, std::move(values), doc});
  }

  const ComponentSchemas& schemas_;
  std::map<std::string, OverrideKey> keys_;
};

}  // namespace

std::vector<OverrideKey> override_keys(const ComponentSchemas& schemas) {
  Collector collector(schemas);
  collector.walk(config::core_schema(), "");
  return collector.keys();
}

}  // namespace caddie
