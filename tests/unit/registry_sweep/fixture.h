// Sweep folders without a pipeline behind them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/base/json.h"

namespace caddie::registry {

struct Scratch {
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "caddie_sweep_XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

inline std::filesystem::path make_sweep(const std::filesystem::path& runs, const std::string& id, const std::string& name,
                                        const std::vector<std::string>& variants, const std::vector<int>& seeds) {
  Json jobs = Json::array();
  for (const std::string& variant : variants)
    for (int seed : seeds)
      jobs.push_back({{"job", variant + "_s" + std::to_string(seed)}, {"name", variant}, {"seed", seed},
                      {"overrides", Json::array()}, {"hash", variant + std::to_string(seed)}});
  const std::filesystem::path folder = runs / "sweeps" / id;
  make_directories(folder);
  write_json(folder / "plan.json", {{"sweep", name}, {"jobs", jobs}});
  return folder;
}

}  // namespace caddie::registry
