#include "core/config/print.h"

#include <algorithm>

#include "core/config/scalar.h"
#include "core/config/schema.h"

namespace caddie {
namespace {

// A text without quotes where it reads back as the same text.
std::string scalar(const Json& value) {
  if (!value.is_string()) return value.dump();
  const std::string& text = value.get_ref<const std::string&>();
  const bool plain = !text.empty() && text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                                             "0123456789._/+-") == std::string::npos &&
                     std::string_view("-.+").find(text[0]) == std::string_view::npos;
  const config::Plain meaning = config::plain_value(text);
  return plain && meaning.value.is_string() && meaning.trap.empty() ? text : value.dump();
}

bool is_leaf(const Json& value) {
  if (value.is_object()) return value.empty();
  return !value.is_array() || value.empty() || !value.front().is_object();
}

std::string leaf(const Json& value) {
  if (!value.is_array()) return scalar(value);
  std::string text;
  for (const Json& item : value) text += (text.empty() ? "" : ", ") + scalar(item);
  return "[" + text + "]";
}

class Printer {
 public:
  Printer(const Manifest& manifest, bool origins) : manifest_(manifest), origins_(origins) {}

  void map(const Json& json, const config::Schema* schema, const std::string& path, const std::string& indent,
           bool in_list) {
    bool first = in_list;
    for (const std::string& key : order(json, schema)) {
      const Json& value = json.at(key);
      const std::string child = path.empty() ? key : path + "." + key;
      const std::string lead = first ? indent.substr(0, indent.size() - 2) + "- " : indent;
      first = false;
      const config::Schema* below = schema ? schema->find(key) : nullptr;
      if (is_leaf(value)) {
        line(lead + key + ": " + leaf(value), child);
      } else if (value.is_array()) {
        lines_ += lead + key + ":\n";
        for (std::size_t i = 0; i < value.size(); ++i)
          map(value[i], below ? below->find("[]") : nullptr, concat(child, "[", i, "]"), indent + "    ", true);
      } else {
        lines_ += lead + key + ":\n";
        map(value, below, child, indent + "  ", false);
      }
    }
  }

  std::string take() { return std::move(lines_); }

 private:
  // `match` and `use` first, then the table's order, then plugins' options by name.
  static std::vector<std::string> order(const Json& json, const config::Schema* schema) {
    std::vector<std::string> keys;
    const auto add = [&](const std::string& key) {
      if (json.contains(key) && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    };
    add("match");
    add("use");
    if (schema)
      for (const config::Schema& child : schema->children) add(child.key);
    for (const auto& item : json.items()) add(item.key());
    return keys;
  }

  void line(std::string text, const std::string& path) {
    if (origins_) {
      const int width = config::characters(text);
      text += std::string(width < 46 ? static_cast<std::size_t>(46 - width) : 1, ' ') + "  # " + manifest_.origin(path);
    }
    lines_ += text + "\n";
  }

  const Manifest& manifest_;
  bool origins_;
  std::string lines_;
};

void compare(const Json& left, const Json& right, const std::string& path, std::vector<Difference>& out) {
  if (left == right && left.type() == right.type()) return;
  if (left.is_object() && right.is_object()) {
    std::vector<std::string> keys;
    for (const Json* side : {&left, &right})
      for (const auto& item : side->items()) keys.push_back(item.key());
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    for (const std::string& key : keys) {
      const std::string child = path.empty() ? key : path + "." + key;
      if (left.contains(key) && right.contains(key))
        compare(left[key], right[key], child, out);
      else
        out.push_back({child, left.value(key, Json()), right.value(key, Json()), !left.contains(key),
                       !right.contains(key)});
    }
    return;
  }
  if (!is_leaf(left) && left.is_array() && right.is_array()) {
    for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      const std::string child = concat(path, "[", i, "]");
      if (i < left.size() && i < right.size())
        compare(left[i], right[i], child, out);
      else
        out.push_back({child, i < left.size() ? left[i] : Json(), i < right.size() ? right[i] : Json(),
                       i >= left.size(), i >= right.size()});
    }
    return;
  }
  out.push_back({path, left, right, false, false});
}

}  // namespace

std::string to_yaml(const Manifest& manifest, bool origins) {
  Printer printer(manifest, origins);
  printer.map(manifest.resolved, &config::core_schema(), "", "", false);
  return printer.take();
}

std::vector<Difference> differences(const Json& left, const Json& right) {
  std::vector<Difference> out;
  compare(left, right, "", out);
  return out;
}

}  // namespace caddie
