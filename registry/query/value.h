// One value of the index: a number or a text. Absent values are std::nullopt around it.
#pragma once

#include <optional>
#include <string>

#include "core/base/json.h"

namespace caddie::registry {

struct Value {
  bool is_number = false;
  double number = 0;
  std::string text;  // of a text; numbers have none

  static Value of(double x) { return {true, x, {}}; }
  static Value of(std::string x) { return {false, 0, std::move(x)}; }
};
using OptionalValue = std::optional<Value>;

// Numbers as numbers; true, false, lists and maps as their JSON text; null as nothing.
inline OptionalValue value_of(const Json& json) {
  if (json.is_null()) return std::nullopt;
  if (json.is_number()) return Value::of(json.get<double>());
  if (json.is_string()) return Value::of(json.get<std::string>());
  return Value::of(canonical(json));
}

inline Json to_json(const OptionalValue& value) {
  if (!value) return nullptr;
  if (!value->is_number) return value->text;
  const auto whole = static_cast<std::int64_t>(value->number);
  if (value->number > -9e15 && value->number < 9e15 && static_cast<double>(whole) == value->number) return whole;
  return value->number;
}

}  // namespace caddie::registry
