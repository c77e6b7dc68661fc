// The tree's source files, as paths and lines, for the tests that look at sources.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace caddie::policy {

struct SourceFile {
  std::string path;  // relative to the root, with slashes: "core/base/hash.h"
  std::vector<std::string> lines;
};

struct Include {
  std::string target;  // what stands between the quotes or angle brackets
  bool quoted;
};

inline bool starts(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

inline const std::vector<SourceFile>& source_files() {
  static const std::vector<SourceFile> files = [] {
    std::vector<SourceFile> found;
    const std::filesystem::path root(CADDIE_SOURCE_DIR);
    for (const char* room : {"core", "plugins", "registry", "tests", "tools"}) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(root / room)) {
        const std::string extension = entry.path().extension().string();
        if (!entry.is_regular_file() || (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh"))
          continue;
        SourceFile file{entry.path().lexically_relative(root).generic_string(), {}};
        std::ifstream in(entry.path());
        for (std::string line; std::getline(in, line);) file.lines.push_back(line);
        found.push_back(std::move(file));
      }
    }
    std::sort(found.begin(), found.end(), [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
    return found;
  }();
  return files;
}

inline std::vector<Include> includes_of(const SourceFile& file) {
  std::vector<Include> includes;
  for (const std::string& line : file.lines) {
    if (!starts(line, "#include ")) continue;
    const char open = line.size() > 9 ? line[9] : ' ';
    const std::size_t close = line.find(open == '<' ? '>' : '"', 10);
    if ((open == '<' || open == '"') && close != std::string::npos) includes.push_back({line.substr(10, close - 10), open == '"'});
  }
  return includes;
}

// "core/base/hash.h" -> "core/base"; one folder for the SDK's headers and sources; "plugins/optimizer/muon" for a plugin.
inline std::string room_of(const std::string& path) {
  const std::size_t first = path.find('/');
  const std::string top = path.substr(0, first);
  if (top == "core" || top == "tools") return path.substr(0, path.find('/', first + 1));
  if (top != "plugins") return top;
  const std::size_t kind = path.find('/', first + 1);
  return path.substr(0, path.find('/', kind + 1));
}

inline bool is_test(const std::string& path) {
  return starts(path, "tests/") || (path.size() > 9 && path.compare(path.size() - 9, 9, "_test.cpp") == 0);
}

}  // namespace caddie::policy
