// Problems in the order of the files, and as a person reads them.
#include <algorithm>
#include <tuple>

#include "core/config/document.h"
#include "core/config/text.h"

namespace caddie {
namespace {

constexpr int kMaxSnippet = 100;

std::string repeated(char c, int times) { return std::string(static_cast<std::size_t>(std::max(0, times)), c); }

// The part of a long line around the column; `column` becomes the one within it.
std::string excerpt(const std::string& line, int& column) {
  if (config::characters(line) <= kMaxSnippet) return line;
  const int first = std::max(0, column - kMaxSnippet / 2);
  std::string part;
  int position = 0;
  for (char c : line) {
    if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) ++position;
    if (position > first && position <= first + kMaxSnippet) part += c;
  }
  column -= first;
  return part;
}

void render_one(std::string& out, const Problem& problem) {
  out += "error: " + problem.message + "\n";
  std::string advice = problem.suggestion.empty() ? "" : "did you mean '" + problem.suggestion + "'?";
  if (!problem.note.empty()) advice += (advice.empty() ? "" : "   ") + problem.note;
  if (problem.line <= 0) {
    if (!problem.file.empty() && problem.message.find(problem.file) == std::string::npos)
      out += "  --> " + problem.file + "\n";
    if (!advice.empty()) out += "  " + advice + "\n";
    return;
  }
  int column = problem.column;
  const std::string snippet = excerpt(problem.snippet, column);
  std::string under;
  for (std::size_t i = 0; static_cast<int>(under.size()) < column - 1 && i < snippet.size(); ++i)
    if ((static_cast<unsigned char>(snippet[i]) & 0xc0) != 0x80) under += snippet[i] == '\t' ? '\t' : ' ';
  under += repeated(' ', column - 1 - static_cast<int>(under.size()));
  under += repeated('^', std::clamp(problem.length, 1, kMaxSnippet + 1 - std::min(column, kMaxSnippet)));
  if (!advice.empty()) under += " " + advice;
  if (problem.file == "command line") {
    out += "  --> command line: " + snippet + "\n" + repeated(' ', 20) + under + "\n";
    return;
  }
  const std::string number = std::to_string(problem.line);
  out += concat("  --> ", problem.file, ":", problem.line, ":", problem.column, "\n");
  out += repeated(' ', 5 - static_cast<int>(number.size())) + number + " | " + snippet + "\n";
  out += "      | " + under + "\n";
}

}  // namespace

std::string render(std::span<const Problem> problems) {
  std::string out;
  for (const Problem& problem : problems) render_one(out, problem);
  return out + concat(problems.size(), problems.size() == 1 ? " error" : " errors", "; nothing was run.");
}

ManifestError::ManifestError(std::vector<Problem> problems)
    : Error(ErrorKind::usage, caddie::render(problems)), problems_(std::move(problems)) {}
ManifestError::~ManifestError() = default;

namespace config {

void Problems::add(const Location& where, std::string message, std::string suggestion, std::string note) {
  Problem problem;
  problem.line = where.line;
  problem.column = where.line > 0 ? where.column : 0;
  problem.length = where.length;
  problem.message = std::move(message);
  problem.suggestion = std::move(suggestion);
  problem.note = std::move(note);
  if (where.source) {
    problem.file = where.source->name;
    if (where.line > 0 && static_cast<std::size_t>(where.line) <= where.source->lines.size())
      problem.snippet = where.source->lines[static_cast<std::size_t>(where.line) - 1];
  }
  add(std::move(problem));
}

void Problems::add(Problem problem) {
  if (problems_.size() < 1000) problems_.push_back(std::move(problem));
}

std::vector<Problem> Problems::sorted(const std::vector<std::string>& order) const {
  const auto rank = [&](const Problem& problem) {
    return std::find(order.begin(), order.end(), problem.file) - order.begin();
  };
  const auto same = [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.line, a.column, a.message, a.snippet) ==
           std::tie(b.file, b.line, b.column, b.message, b.snippet);
  };
  std::vector<Problem> result;
  for (const Problem& problem : problems_)
    if (std::none_of(result.begin(), result.end(), [&](const Problem& p) { return same(p, problem); }))
      result.push_back(problem);
  std::stable_sort(result.begin(), result.end(), [&](const Problem& a, const Problem& b) {
    return std::tuple(rank(a), a.line, a.column) < std::tuple(rank(b), b.line, b.column);
  });
  return result;
}

}  // namespace config
}  // namespace caddie
