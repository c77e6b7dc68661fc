// What a plain scalar means: YAML 1.2 core, decided here and nowhere else. true/false, null and ~, decimal integers,
// 0x1f and 0o17, decimal fractions; everything else is a text. What YAML 1.1 reads differently (yes, 010, 1_000) and
// what no option accepts (.inf, .nan, more than 64 bits) is a trap: a text, and an error where no text is wanted.
#pragma once

#include <string>
#include <string_view>

#include "core/base/json.h"
#include "core/config/document.h"

namespace caddie::config {

struct Plain {
  Json value;              // null, boolean, integer, number or text
  std::string trap;        // "'010' is octal to some programs and decimal to others"
  std::string suggestion;  // what to write instead, may be empty
};

CADDIE_API Plain plain_value(std::string_view text);

// Scalars by plain_value (quoted ones are texts), lists and maps of them.
Json to_json(const Node& node);

// "text 'abc'", "number 3", "list", "map", "null": for messages.
std::string describe(const Node& node);

}  // namespace caddie::config
