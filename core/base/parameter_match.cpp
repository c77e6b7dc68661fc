#include "core/base/parameter_match.h"

#include <set>

#include "caddie/error.h"

namespace caddie {
namespace {

constexpr std::size_t kListed = 8;  // names in one message

bool is_role(std::string_view match) {
  return match == role_name(Role::matrix) || match == role_name(Role::embedding) || match == role_name(Role::vector);
}

std::string accepted(std::span<const Parameter> parameters) {
  std::set<std::string> groups;
  for (const auto& parameter : parameters)
    if (!is_role(parameter.group)) groups.insert(parameter.group);
  std::string text = "Accepted: a role (matrix, embedding, vector)";
  std::string list;
  for (const auto& group : groups) list += concat(list.empty() ? "" : ", ", group);
  if (!list.empty()) text += ", a group of this model (" + list + ")";
  return text + ", or a name pattern such as blocks.*.weight.";
}

std::string quoted(std::span<const std::string> entries) {
  std::string text;
  for (const auto& entry : entries) text += concat(text.empty() ? "'" : ", '", entry, "'");
  return text.empty() ? "none" : text;
}

void append_limited(std::string& text, std::size_t count, const std::string& line) {
  if (count < kListed) text += "\n  " + line;
  if (count == kListed) text += "\n  ...";
}

}  // namespace

std::vector<std::size_t> select_parameters(std::span<const Parameter> parameters, std::string_view match,
                                           std::string_view where) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (matches(match, parameters[i])) found.push_back(i);
  if (found.empty())
    throw Error(ErrorKind::usage, concat(where, ": '", match, "' matches no parameter of the model"),
                accepted(parameters));
  return found;
}

std::vector<std::size_t> assign_parameters(std::span<const Parameter> parameters, std::span<const std::string> entries,
                                           std::string_view where) {
  std::vector<std::size_t> owner(parameters.size(), entries.size());
  std::vector<bool> used(entries.size(), false);
  std::string none, several;
  std::size_t without = 0, doubled = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    std::vector<std::string> hits;
    for (std::size_t e = 0; e < entries.size(); ++e) {
      if (!matches(entries[e], parameters[i])) continue;
      if (hits.empty()) owner[i] = e;
      used[e] = true;
      hits.push_back(entries[e]);
    }
    const std::string line = concat(parameters[i].name, " (", role_name(parameters[i].role), ", ", parameters[i].group, ")");
    if (hits.empty()) append_limited(none, without++, line);
    if (hits.size() > 1) append_limited(several, doubled++, concat(line, ": ", quoted(hits)));
  }
  if (without + doubled > 0) {
    std::string message = concat(where, " must take every parameter exactly once");
    if (without > 0) message += concat("; no entry matches ", without, " of ", parameters.size(), ":", none);
    if (doubled > 0) message += concat("; more than one entry matches ", doubled, " of ", parameters.size(), ":", several);
    throw Error(ErrorKind::usage, concat(message, "\n  entries: ", quoted(entries)), accepted(parameters));
  }
  for (std::size_t e = 0; e < entries.size(); ++e)
    if (!used[e] && !is_role(entries[e]))
      throw Error(ErrorKind::usage, concat(where, ": '", entries[e], "' matches no parameter of the model"),
                  accepted(parameters));
  return owner;
}

}  // namespace caddie
