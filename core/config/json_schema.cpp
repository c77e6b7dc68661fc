#include "core/config/json_schema.h"

#include <set>
#include <span>

#include "core/config/options.h"
#include "core/config/schema.h"

namespace caddie {
namespace config {
namespace {

Json typed(const char* type, bool nullable) {
  return nullable ? Json({{"type", {type, "null"}}}) : Json({{"type", type}});
}

void set_range(Json& schema, const OptionSpec& spec) {
  if (spec.minimum) schema["minimum"] = Json::parse(spec.minimum);
  if (spec.maximum) schema["maximum"] = Json::parse(spec.maximum);
}

Json option_schema(const OptionSpec& spec) {
  const bool nullable = spec.fallback && std::string_view(spec.fallback) == "null";
  Json schema;
  switch (spec.type) {
    case OptionType::boolean: schema = typed("boolean", nullable); break;
    case OptionType::integer: schema = typed("integer", nullable); break;
    case OptionType::number: schema = typed("number", nullable); break;
    // A plain 2024 is a text where a text is wanted.
    case OptionType::text: schema = Json::object(); break;
    case OptionType::numbers:
      schema = typed("array", nullable);
      schema["items"] = typed("number", false);
      set_range(schema["items"], spec);
      break;
  }
  if (spec.type == OptionType::integer || spec.type == OptionType::number) set_range(schema, spec);
  if (spec.type == OptionType::text && spec.choices) {
    schema["enum"] = split_choices(spec.choices);
    if (nullable) schema["enum"].push_back(nullptr);
  } else if (spec.type == OptionType::text) {
    schema["type"] = {"string", "number", "boolean"};
    if (nullable) schema["type"].push_back("null");
  }
  if (spec.doc) schema["description"] = spec.doc;
  if (spec.fallback) schema["default"] = Json::parse(spec.fallback);
  return schema;
}

class Writer {
 public:
  explicit Writer(const ComponentSchemas& schemas) : schemas_(schemas) {}

  Json value(const Schema& schema) const {
    const KeySpec& spec = *schema.spec;
    Json json;
    switch (spec.type) {
      case Type::boolean:
      case Type::integer:
      case Type::number:
      case Type::text: return option_schema(schema.option());
      case Type::name: json = {{"type", "string"}, {"maxLength", 120}, {"pattern", "^[A-Za-z0-9_=,+][A-Za-z0-9._=,+-]*$"}}; break;
      case Type::path:
      case Type::source: json = typed("string", true); break;
      case Type::paths:
        json = {{"type", {"string", "array", "null"}}, {"items", {{"type", "string"}}}, {"minItems", 1}};
        break;
      case Type::texts: json = {{"type", {"string", "array", "null"}}, {"items", {{"type", "string"}}}}; break;
      case Type::count: json = {{"anyOf", {{{"const", "all"}}, {{"type", "integer"}, {"minimum", 1}}}}}; break;
      case Type::section:
      case Type::optional: json = map(schema, false); break;
      case Type::entries: {
        const Schema& element = *schema.find("[]");
        json = typed("array", !schema.required());
        json["items"] = element.is_component() ? component(element, true) : map(element, true);
        break;
      }
      case Type::component: json = component(schema, false); break;
    }
    if (spec.doc) json["description"] = spec.doc;
    if (spec.fallback && spec.type != Type::name) json["default"] = Json::parse(spec.fallback);
    return json;
  }

  // A section may be a part that `extends` or an override completes; an element of a list is whole.
  Json map(const Schema& schema, bool whole) const {
    Json json = typed("object", !whole);
    json["properties"] = properties(schema);
    json["additionalProperties"] = false;
    if (whole) require(json, schema);
    return json;
  }

  Json properties(const Schema& schema) const {
    Json json = Json::object();
    for (const Schema& child : schema.children) json[child.key] = value(child);
    return json;
  }

 private:
  static void require(Json& json, const Schema& schema) {
    for (const Schema& child : schema.children)
      if (child.required()) json["required"].push_back(child.key);
  }

  // The plugin's own options hang on the value of `use`.
  Json component(const Schema& schema, bool whole) const {
    Json json = typed("object", !whole && !schema.required());
    Json& use = json["properties"] = properties(schema);
    std::set<std::string> all;
    Json variants = Json::array(), names = Json::array();
    for (const std::string& name : schemas_.names(schema.kind())) {
      const Component* plugin = schemas_.find(schema.kind(), name);
      if (!plugin) continue;
      Json options = Json::object();
      for (const OptionSpec& spec : std::span(plugin->options, plugin->option_count)) {
        if (schema.find(spec.key)) continue;
        options[spec.key] = option_schema(spec);
        all.insert(spec.key);
      }
      names.push_back({{"const", name}, {"description", plugin->summary}});
      Json when = {{"properties", {{"use", {{"const", name}}}}}, {"required", {"use"}}};
      variants.push_back({{"if", std::move(when)}, {"then", {{"properties", std::move(options)}}}});
    }
    if (!whole) {
      Json any = Json::object();
      for (const std::string& key : all) any[key] = true;
      variants.push_back({{"if", {{"not", {{"required", {"use"}}}}}}, {"then", {{"properties", std::move(any)}}}});
    }
    use["use"] = {{"oneOf", std::move(names)}, {"description", std::string("the ") + kind_word(schema.kind())}};
    json["allOf"] = std::move(variants);
    json["unevaluatedProperties"] = false;
    if (whole) {
      json["required"] = {"use"};
      require(json, schema);
    }
    return json;
  }

  const ComponentSchemas& schemas_;
};

Json sweep_schema() {
  const Json changes = {{"type", {"object", "null"}}, {"description", "paths of keys and their values"}};
  const Json named = {{"type", "object"}, {"additionalProperties", changes}};
  const Json axes = {{"type", "object"}, {"additionalProperties", {{"type", "array"}, {"minItems", 1}}}};
  Json json = {{"type", "object"}, {"required", {"sweep", "base"}}, {"additionalProperties", false}};
  json["properties"] = {
      {"caddie", {{"const", 1}}},
      {"sweep", {{"type", "string"}, {"description", "the sweep's name"}}},
      {"base", {{"type", "string"}, {"description", "the manifest that the runs start from, relative to this file"}}},
      {"seeds", {{"type", {"array", "integer"}}, {"items", {{"type", "integer"}, {"minimum", 0}}}}},
      {"overrides", changes},
      {"variants", named},
      {"grid", axes},
      {"zip", axes},
      {"random",
       {{"type", "object"},
        {"required", {"trials", "space"}},
        {"additionalProperties", false},
        {"properties",
         {{"trials", {{"type", "integer"}, {"minimum", 1}}},
          {"seed", {{"type", "integer"}, {"minimum", 0}}},
          {"space", {{"type", "object"}, {"additionalProperties", {{"type", {"array", "object"}}}}}}}}}},
      {"ablate",
       {{"type", "object"},
        {"additionalProperties", false},
        {"properties", {{"leave_one_out", named}, {"add_one_in", named}}}}}};
  return json;
}

}  // namespace
}  // namespace config

Json manifest_json_schema(const ComponentSchemas& schemas) {
  const config::Writer writer(schemas);
  Json manifest = {{"type", "object"}, {"additionalProperties", false}};
  manifest["properties"] = writer.properties(config::core_schema());
  manifest["properties"]["extends"] = {{"type", "string"}, {"description", "a manifest that this one completes"}};
  Json required = {"caddie"};
  for (const config::Schema& child : config::core_schema().children)
    if (child.required()) required.push_back(child.key);
  manifest["if"] = {{"required", {"extends"}}};
  manifest["then"] = true;
  manifest["else"] = {{"required", std::move(required)}};
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "caddie manifest"}};
  schema["if"] = {{"type", "object"}, {"required", {"sweep"}}};
  schema["then"] = {{"$ref", "#/$defs/sweep"}};
  schema["else"] = {{"$ref", "#/$defs/manifest"}};
  schema["$defs"] = {{"manifest", std::move(manifest)}, {"sweep", config::sweep_schema()}};
  return schema;
}

}  // namespace caddie
