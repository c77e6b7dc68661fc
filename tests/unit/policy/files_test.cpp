// Sizes of files, and calls that have no place in a library or a plugin.
#include <map>
#include <regex>
#include <set>

#include "tests/support/catch.h"
#include "tests/unit/policy/sources.h"

using namespace caddie::policy;

namespace {

constexpr std::size_t kMostLines = 400;

// Files above the limit, and why they are not cut in two.
const std::map<std::string, std::string>& long_files() {
  static const std::map<std::string, std::string> files{};
  return files;
}

// Files that may end a process, and why.
const std::map<std::string, std::string>& enders() {
  static const std::map<std::string, std::string> files{
      {"core/host/library.cpp", "its terminate handler says which plugin threw while it was loaded"},
      {"core/host/probe.cpp", "ends its own forked child"},
      {"core/host/check.cpp", "ends its own forked child if exec fails"},
      {"core/comm/spawn.cpp", "ends its own forked child if exec fails"},
      {"core/base/interrupt.cpp", "the second signal ends the program at once"},
  };
  return files;
}

// The line without its comment and without texts.
std::string code_of(const std::string& line) {
  static const std::regex text("\"([^\"\\\\]|\\\\.)*\"");
  std::string code = std::regex_replace(line, text, "\"\"");
  return code.substr(0, code.find("//"));
}

}  // namespace

TEST_CASE("files stay below 400 lines, or say why not") {
  std::set<std::string> exempt_and_long;
  for (const auto& file : source_files()) {
    INFO(file.path << " has " << file.lines.size() << " lines: find the seam, or list it here with the reason");
    const bool exempt = long_files().contains(file.path);
    CHECK((exempt || file.lines.size() <= kMostLines));
    if (exempt && file.lines.size() > kMostLines) exempt_and_long.insert(file.path);
  }
  for (const auto& [path, reason] : long_files()) {
    INFO(path << " is listed, but is no longer long");
    CHECK(exempt_and_long.contains(path));
    CHECK_FALSE(reason.empty());
  }
}

TEST_CASE("libraries and plugins throw, they never end the process") {
  static const std::regex ends(R"((^|[^\w.>])(std::)?(_?exit|abort|quick_exit|_Exit)\s*\()");
  for (const auto& file : source_files()) {
    if (starts(file.path, "tools/") || is_test(file.path) || enders().contains(file.path)) continue;
    for (const auto& line : file.lines) {
      INFO(file.path << ": " << line);
      CHECK_FALSE(std::regex_search(code_of(line), ends));
    }
  }
}

TEST_CASE("plugins register nothing and reach for no globals") {
  static const std::regex forbidden(
      R"(\b(TORCH_LIBRARY\w*|getenv|setenv|manual_seed|set_num_threads|set_num_interop_threads|srand|chdir)\b)");
  for (const auto& file : source_files()) {
    if (!starts(file.path, "plugins/") || is_test(file.path)) continue;
    for (const auto& line : file.lines) {
      INFO(file.path << ": " << line);
      CHECK_FALSE(std::regex_search(code_of(line), forbidden));
    }
  }
}

TEST_CASE("headers are guarded, and files say in the beginning what they are") {
  for (const auto& file : source_files()) {
    const bool header = file.path.ends_with(".h") || file.path.ends_with(".cuh");
    INFO(file.path);
    REQUIRE_FALSE(file.lines.empty());
    if (!header) continue;
    bool guarded = false;
    for (const auto& line : file.lines) guarded = guarded || line == "#pragma once";
    CHECK(guarded);
    if (!starts(file.path, "tests/")) CHECK(starts(file.lines.front(), "// "));
  }
}
