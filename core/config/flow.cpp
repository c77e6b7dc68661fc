// A node as YAML flow text: for overrides that a sweep hands to a process of its own.
#include "core/config/document.h"
#include "core/config/scalar.h"

namespace caddie::config {
namespace {

// Whether a plain scalar reads back as itself in flow context.
bool safe_plain(std::string_view text) {
  if (text.empty() || text.front() == ' ' || text.back() == ' ') return false;
  if (text.find_first_of(",[]{}\n\r\t\"'#&*!|>%@`") != std::string_view::npos) return false;
  if (text.find(": ") != std::string_view::npos || text.back() == ':') return false;
  return std::string_view("-?:").find(text.front()) == std::string_view::npos ||
         plain_value(text).value.is_number();
}

std::string quoted(const std::string& text) { return Json(text).dump(); }

}  // namespace

std::string flow_text(const Node& node) {
  std::string out;
  switch (node.kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::scalar: return !node.quoted && safe_plain(node.text) ? node.text : quoted(node.text);
    case Node::Kind::list:
      for (const Node& item : node.items) out += (out.empty() ? "" : ", ") + flow_text(item);
      return "[" + out + "]";
    case Node::Kind::map: break;
  }
  for (const Entry& entry : node.entries)
    out += (out.empty() ? "" : ", ") + quoted(entry.key) + ": " + flow_text(entry.value);
  return "{" + out + "}";
}

}  // namespace caddie::config
