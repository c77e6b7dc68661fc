// Which folder a person means by a run's name. Without the rest of RunFolder: listing runs needs no session.
#include <vector>

#include "caddie/error.h"
#include "core/base/suggest.h"
#include "core/pipeline/run_folder.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {}

RunFolder RunFolder::open(const fs::path& runs, const std::string& run) {
  const auto is_run = [](const fs::path& path) { return fs::exists(path / "resolved.json"); };
  if (is_run(run)) return RunFolder(fs::absolute(run).lexically_normal());
  if (is_run(runs / run)) return RunFolder(fs::absolute(runs / run).lexically_normal());
  std::vector<std::string> names, matching;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(runs, code)) {
    if (!is_run(item.path())) continue;
    names.push_back(item.path().filename().string());
    if (names.back().starts_with(run)) matching.push_back(names.back());
  }
  if (matching.size() == 1) return RunFolder(fs::absolute(runs / matching[0]).lexically_normal());
  if (matching.size() > 1)
    throw Error(ErrorKind::usage, concat("'", run, "' is the beginning of ", matching.size(), " runs in ", runs.string()),
                "Write more of the name; caddie runs list shows all.");
  const std::string guess = closest(run, names);
  throw Error(ErrorKind::usage, concat("there is no run '", run, "' in ", fs::absolute(runs).string()),
              guess.empty() ? "caddie runs list shows all; --runs DIR looks elsewhere." : "Did you mean '" + guess + "'?");
}

}  // namespace caddie::pipeline
