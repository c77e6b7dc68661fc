#include "core/config/scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace caddie::config {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool all_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

std::string_view without_sign(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return text;
}

// [0-9]+ (\. [0-9]*)? ([eE] [-+]? [0-9]+)?  |  \. [0-9]+ (...)?
bool is_float(std::string_view text) {
  const std::size_t exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos && !all_digits(without_sign(text.substr(exponent + 1)))) return false;
  text = text.substr(0, exponent);
  const std::size_t point = text.find('.');
  if (point == std::string_view::npos) return all_digits(text);
  const std::string_view whole = text.substr(0, point), fraction = text.substr(point + 1);
  if (whole.empty()) return all_digits(fraction);
  return all_digits(whole) && (fraction.empty() || all_digits(fraction));
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

template <std::size_t n>
bool one_of(std::string_view text, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

Plain trap(std::string_view text, std::string why, std::string suggestion = {}) {
  return {Json(std::string(text)), concat("'", text, "' ", why), std::move(suggestion)};
}

Plain integer(std::string_view text, std::string_view digits, int base) {
  std::int64_t value = 0;
  const std::string signed_text = (text[0] == '-' ? "-" : "") + std::string(digits);
  const auto result = std::from_chars(signed_text.data(), signed_text.data() + signed_text.size(), value, base);
  if (result.ec == std::errc::result_out_of_range) return trap(text, "does not fit into 64 bits");
  return {Json(value), {}, {}};
}

std::string without_leading_zeros(std::string_view text) {
  const std::string sign = text[0] == '-' ? "-" : "";
  std::string_view digits = without_sign(text);
  while (digits.size() > 1 && digits[0] == '0' && is_digit(digits[1])) digits.remove_prefix(1);
  return sign + std::string(digits);
}

}  // namespace

Plain plain_value(std::string_view text) {
  static constexpr std::array<std::string_view, 5> nulls{"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 3> trues{"true", "True", "TRUE"}, falses{"false", "False", "FALSE"};
  static constexpr std::array<std::string_view, 3> yes{"yes", "on", "y"}, no{"no", "off", "n"};
  static constexpr std::array<std::string_view, 4> not_finite{".inf", ".nan", "inf", "nan"};
  if (one_of(text, nulls)) return {};
  if (one_of(text, trues)) return {Json(true), {}, {}};
  if (one_of(text, falses)) return {Json(false), {}, {}};

  const std::string small = lower(text);
  if (one_of(small, yes) || small == "true") return trap(text, "is a text in YAML 1.2", "true");
  if (one_of(small, no) || small == "false") return trap(text, "is a text in YAML 1.2", "false");
  const std::string_view digits = without_sign(text);
  if (one_of(without_sign(small), not_finite)) return trap(text, "is not a finite number");
  if (digits.starts_with("0x") && digits.size() > 2 &&
      digits.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string_view::npos)
    return integer(text, digits.substr(2), 16);
  if (digits.starts_with("0o") && digits.size() > 2 &&
      digits.find_first_not_of("01234567", 2) == std::string_view::npos)
    return integer(text, digits.substr(2), 8);
  if (is_float(digits)) {
    if (digits.size() > 1 && digits[0] == '0' && is_digit(digits[1]))
      return trap(text, "is octal to some programs and decimal to others", without_leading_zeros(text));
    if (all_digits(digits)) return integer(text, digits, 10);
    double value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (result.ec == std::errc::result_out_of_range || !std::isfinite(value))
      return trap(text, "is beyond the range of numbers");
    return {Json(text[0] == '-' ? -value : value), {}, {}};
  }
  std::string joined(text);
  std::erase(joined, '_');
  if (joined.size() < text.size() && !digits.empty() && is_digit(digits[0]) && is_float(without_sign(joined)))
    return trap(text, "is a text in YAML 1.2", without_leading_zeros(joined));
  return {Json(std::string(text)), {}, {}};
}

Json to_json(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null: return nullptr;
    case Node::Kind::scalar: return node.quoted ? Json(node.text) : plain_value(node.text).value;
    case Node::Kind::list: {
      Json list = Json::array();
      for (const Node& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case Node::Kind::map: break;
  }
  Json map = Json::object();
  for (const Entry& entry : node.entries) map[entry.key] = to_json(entry.value);
  return map;
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::list: return "a list";
    case Node::Kind::map: return "a map";
    case Node::Kind::scalar: break;
  }
  std::string text = node.text.size() <= 60 ? node.text : node.text.substr(0, 57) + "...";
  return to_json(node).is_string() ? concat("the text '", text, "'") : text;
}

}  // namespace caddie::config
