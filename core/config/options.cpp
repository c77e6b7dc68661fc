#include "core/config/options.h"

#include <cmath>
#include <limits>
#include <span>

#include "caddie/error.h"

namespace caddie {
namespace {

std::string type_name(OptionType type) {
  switch (type) {
    case OptionType::boolean: return "boolean";
    case OptionType::integer: return "integer";
    case OptionType::number: return "number";
    case OptionType::text: return "text";
    case OptionType::numbers: return "list of numbers";
  }
  return "unknown type";
}

std::string kind_of(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "a boolean";
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a text";
  return value.is_array() ? "a list" : "a map";
}

bool is_integer(const Json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() ||
         value.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

bool is_finite_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

bool has_type(OptionType type, const Json& value) {
  switch (type) {
    case OptionType::boolean: return value.is_boolean();
    case OptionType::integer: return is_integer(value);
    case OptionType::number: return is_finite_number(value);
    case OptionType::text: return value.is_string();
    case OptionType::numbers: break;
  }
  if (!value.is_array()) return false;
  for (const Json& part : value)
    if (!is_finite_number(part)) return false;
  return true;
}

bool nullable(const OptionSpec& spec) { return spec.fallback && std::string_view(spec.fallback) == "null"; }

// Integers are compared as integers: above 2^53 a double cannot tell neighbours apart.
bool below(const Json& left, const Json& right) {
  if (is_integer(left) && is_integer(right)) return left.get<std::int64_t>() < right.get<std::int64_t>();
  return left.get<double>() < right.get<double>();
}

bool in_range(const OptionSpec& spec, const Json& value) {
  return !(spec.minimum && below(value, Json::parse(spec.minimum))) &&
         !(spec.maximum && below(Json::parse(spec.maximum), value));
}

bool is_choice(std::string_view choices, std::string_view value) {
  while (true) {
    const std::size_t bar = choices.find('|');
    if (choices.substr(0, bar) == value) return true;
    if (bar == std::string_view::npos) return false;
    choices.remove_prefix(bar + 1);
  }
}

Options::Value convert(OptionType type, const Json& value) {
  if (value.is_null()) return std::monostate{};
  switch (type) {
    case OptionType::boolean: return value.get<bool>();
    case OptionType::integer: return value.get<std::int64_t>();
    case OptionType::number: return value.get<double>();
    case OptionType::text: return value.get<std::string>();
    case OptionType::numbers: break;
  }
  return value.get<std::vector<double>>();
}

}  // namespace

std::string option_accepts(const OptionSpec& spec) {
  std::string text = type_name(spec.type);
  if (spec.choices) text = std::string("one of ") + spec.choices;
  if (spec.minimum && spec.maximum)
    text += concat(" from ", spec.minimum, " to ", spec.maximum);
  else if (spec.minimum)
    text += concat(" of at least ", spec.minimum);
  else if (spec.maximum)
    text += concat(" of at most ", spec.maximum);
  if (nullable(spec)) text += " or null";
  return text;
}

std::string option_fault(const OptionSpec& spec, const Json& value) {
  if (value.is_null() && nullable(spec)) return {};
  if (!has_type(spec.type, value)) return concat("is ", kind_of(value), ", accepted: ", option_accepts(spec));
  bool good = true;
  if (spec.type == OptionType::text) {
    good = !spec.choices || is_choice(spec.choices, value.get_ref<const std::string&>());
  } else if (spec.type == OptionType::numbers) {
    for (const Json& part : value) good = good && in_range(spec, part);
  } else if (spec.type != OptionType::boolean) {
    good = in_range(spec, value);
  }
  return good ? std::string() : concat("is ", value.dump(), ", accepted: ", option_accepts(spec));
}

Json option_default(const OptionSpec& spec) { return spec.fallback ? Json::parse(spec.fallback) : Json(); }

Options make_options(const Json& section, const Component& component) {
  std::map<std::string, Options::Value> values;
  for (const OptionSpec& spec : std::span(component.options, component.option_count)) {
    const bool given = section.is_object() && section.contains(spec.key);
    CADDIE_CHECK(given || spec.fallback, ErrorKind::usage, "the option '", spec.key, "' of '", component.name,
                 "' must be given, accepted: ", option_accepts(spec));
    const Json value = given ? section.at(spec.key) : option_default(spec);
    const std::string fault = option_fault(spec, value);
    CADDIE_CHECK(fault.empty(), ErrorKind::usage, "the option '", spec.key, "' of '", component.name, "' ", fault);
    values.emplace(spec.key, convert(spec.type, value));
  }
  return Options(std::move(values));
}

}  // namespace caddie
