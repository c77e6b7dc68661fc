#include "core/config/text.h"

#include <algorithm>
#include <cstdio>

#include "core/base/suggest.h"

namespace caddie::config {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

// Bytes of the UTF-8 sequence that `text` begins with; 0 if it is none (overlong forms and surrogates included).
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  if (first >= 0xc2 && first < 0xe0) length = 2;
  if (first >= 0xe0 && first < 0xf0) length = 3;
  if (first >= 0xf0 && first < 0xf5) length = 4;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) >= 0xa0) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) >= 0x90) return 0;
  return length;
}

bool blank_or_comment(std::string_view text) {
  const std::size_t next = text.find_first_not_of(" \t\r");
  return next == std::string_view::npos || text[next] == '\n' || text[next] == '#';
}

std::string hex_byte(char c) {
  char text[8];
  std::snprintf(text, sizeof text, "0x%02x", static_cast<unsigned char>(c));
  return text;
}

}  // namespace

std::string suggest(std::string_view name, std::span<const std::string> candidates) {
  if (std::string near = closest(name, candidates); !near.empty() || name.size() < 2) return near;
  std::string best;
  bool best_by_words = false;
  for (const std::string& candidate : candidates) {
    if (candidate.empty() || candidate[0] != name[0] || candidate.size() < name.size()) continue;
    // All letters in order, and whether every word of the candidate begins with one of them.
    std::size_t matched = 0, words = 0, words_matched = 0;
    for (std::size_t i = 0; i < candidate.size(); ++i) {
      const bool word = i == 0 || candidate[i - 1] == '_';
      const bool hit = matched < name.size() && candidate[i] == name[matched];
      words += word;
      words_matched += word && hit;
      matched += hit;
    }
    if (matched < name.size()) continue;
    const bool by_words = words_matched == words;
    const bool better = best.empty() || (by_words && !best_by_words) ||
                        (by_words == best_by_words && candidate.size() < best.size());
    if (!better) continue;
    best = candidate;
    best_by_words = by_words;
  }
  return best;
}

bool is_file_name(std::string_view text) { return !text.empty() && file_name(text) == text; }

std::string file_name(std::string_view text) {
  std::string name(text.substr(0, 120));
  for (char& c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
          std::string_view("._=,+-").find(c) != std::string_view::npos))
      c = '_';
  if (name.starts_with('.') || name.starts_with('-')) name[0] = '_';
  return name;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

int characters(std::string_view text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

Location locate_bytes(const std::shared_ptr<const Source>& source, int line, std::size_t byte_column, int length) {
  int column = static_cast<int>(byte_column) + 1;
  if (line >= 1 && static_cast<std::size_t>(line) <= source->lines.size()) {
    const std::string_view text = source->lines[static_cast<std::size_t>(line) - 1];
    column = characters(text.substr(0, byte_column)) + 1;
  }
  return {source, line, column, length};
}

int token_length(const std::vector<std::string>& lines, int line, std::size_t byte_column, std::string_view value) {
  if (line < 1 || static_cast<std::size_t>(line) > lines.size()) return 1;
  std::string_view rest = lines[static_cast<std::size_t>(line) - 1];
  if (byte_column >= rest.size()) return 1;
  rest.remove_prefix(byte_column);
  if (rest[0] == '"' || rest[0] == '\'') {
    std::size_t end = 1;
    while (end < rest.size() && rest[end] != rest[0]) end += rest[0] == '"' && rest[end] == '\\' ? 2 : 1;
    return characters(rest.substr(0, end + 1));
  }
  if (!value.empty() && rest.starts_with(value)) return std::max(1, characters(value));
  const std::size_t end = rest.find_first_of(" \t,]}");
  return std::max(1, characters(rest.substr(0, end)));
}

bool check_text(std::string_view text, const std::shared_ptr<const Source>& source, Problems& problems) {
  if (text.size() > kMaxBytes) {
    problems.add(Location{source, 0, 0, 1},
                 concat("the text has ", text.size(), " bytes, accepted: at most ", kMaxBytes), {},
                 "is it a manifest?");
    return false;
  }
  int line = 1;
  std::size_t line_start = 0;
  bool indentation = true;
  const bool is_file = !source->command_line;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    const auto complain = [&](std::string message, std::string note) {
      // In an override the text is a part of the only line.
      const Location where = is_file ? locate_bytes(source, line, i - line_start, 1) : Location{source, 1, 1, 1};
      problems.add(where, std::move(message), {}, std::move(note));
      return false;
    };
    const std::size_t length = sequence_length(text.substr(i));
    if (length == 0) return complain(concat("the byte ", hex_byte(c), " is not UTF-8 text"), "is it a manifest?");
    const bool newline = c == '\n' || (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    const auto code = static_cast<unsigned char>(c);
    if (!newline && c != '\t' && (code < 0x20 || code == 0x7f))
      return complain(concat("the control character ", hex_byte(c), " is not allowed"), "is it a manifest?");
    if (c == '\t' && indentation && is_file && !blank_or_comment(text.substr(i)))
      return complain("a tab in the indentation", "use spaces");
    if (c != ' ') indentation = false;
    if (c == '\n') {
      ++line;
      line_start = i + 1;
      indentation = true;
    }
    i += length;
  }
  return true;
}

}  // namespace caddie::config
