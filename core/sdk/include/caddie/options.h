// Option schemas (what a plugin accepts, as constant data) and Options (checked values, read-only).
// Plugins never see YAML: the host validates a manifest against the schema and hands the values over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "caddie/export.h"

namespace caddie {

enum class OptionType { boolean, integer, number, text, numbers };  // numbers: a list of numbers

struct OptionSpec {
  const char* key;
  OptionType type;
  const char* fallback;  // default in JSON syntax ("0.9", "true", "\"x\"", "[1, 2]", "null"); nullptr: required
  const char* minimum;   // inclusive, in JSON syntax; nullptr: none
  const char* maximum;   // inclusive; nullptr: none
  const char* choices;   // "a|b|c" for text; nullptr: any
  const char* doc;       // one line, with the unit if there is one
};

// Values of one component, defaults filled in. A key that the schema lacks is a mistake of the plugin and throws.
class CADDIE_API Options {
 public:
  using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<double>>;

  Options();
  explicit Options(std::map<std::string, Value> values);
  ~Options();
  Options(const Options&);
  Options& operator=(const Options&);

  bool is_null(std::string_view key) const;  // the value is null: "not set"
  bool boolean(std::string_view key) const;
  std::int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;  // an integer is accepted too
  const std::string& text(std::string_view key) const;
  const std::vector<double>& numbers(std::string_view key) const;
  bool has(std::string_view key) const;

 private:
  const Value& at(std::string_view key) const;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace caddie
