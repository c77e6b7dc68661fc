#include "registry/query/keys.h"

#include <algorithm>
#include <map>
#include <set>

#include "caddie/error.h"
#include "core/base/suggest.h"

namespace caddie::registry {
namespace {

const std::map<std::string, std::string>& short_names() {
  static const std::map<std::string, std::string> names = {{"optimizer", "optimizers.use"},
                                                           {"quantizer", "quantize.tensors.use"},
                                                           {"compressor", "compress.use"},
                                                           {"strategy", "ttt.use"},
                                                           {"bytes", "artifact.total_bytes"},
                                                           {"id", "run"},
                                                           {"val", "val_bpb"},
                                                           {"sliding", "sliding_bpb"},
                                                           {"tag", "tags"},
                                                           {"model", "model.use"}};
  return names;
}

bool ends_with_path(const std::string& path, const std::string& end) {
  return path == end || (path.size() > end.size() && path.ends_with(end) && path[path.size() - end.size() - 1] == '.');
}

// Paths that a name may mean, less likely meanings taken away where a likelier one is left.
std::set<std::string> narrowed(const std::set<std::string>& paths) {
  const auto without = [](const std::set<std::string>& all, const char* prefix) {
    std::set<std::string> rest;
    for (const std::string& path : all)
      if (!path.starts_with(prefix)) rest.insert(path);
    return rest.empty() ? all : rest;
  };
  return without(without(without(without(paths, "environment."), "cached."), "result."), "seconds.");
}

}  // namespace

std::string without_selectors(const std::string& key) {
  std::string path;
  int depth = 0;
  for (const char c : key) {
    if (c == '[') ++depth;
    if (depth == 0) path += c;
    if (c == ']') --depth;
  }
  return path;
}

FoundKeys find_keys(const std::string& name, const std::vector<std::string>& keys) {
  if (std::binary_search(keys.begin(), keys.end(), name)) return {{name}, {}, {}, {}};
  const auto alias = short_names().find(name);
  const std::string wanted = alias == short_names().end() ? name : alias->second;
  const bool selective = wanted.find('[') != std::string::npos;
  std::map<std::string, std::vector<std::string>> meanings;  // path -> keys
  for (const std::string& key : keys) {
    const std::string path = without_selectors(key);
    if (ends_with_path(selective ? key : path, wanted)) meanings[path].push_back(key);
  }
  if (meanings.contains(wanted)) return {meanings[wanted], {}, {}, {}};
  std::set<std::string> paths;
  for (const auto& [path, found] : meanings) paths.insert(path);
  paths = narrowed(paths);
  if (paths.size() == 1) return {meanings[*paths.begin()], {}, {}, {}};
  if (alias != short_names().end()) return {{wanted}, {}, {}, {}};  // a short name that no run has a value for
  if (!paths.empty()) {
    std::string all;
    for (const std::string& path : paths) all += (all.empty() ? "" : ", ") + path;
    return {{}, concat("'", name, "' is the end of ", paths.size(), " keys"), concat("write more of it: ", all), {}};
  }
  std::set<std::string> names;
  for (const std::string& key : keys) {
    const std::string path = without_selectors(key);
    names.insert(path);
    names.insert(path.substr(path.rfind('.') + 1));
  }
  for (const auto& [shorter, path] : short_names()) names.insert(shorter);
  const std::vector<std::string> candidates(names.begin(), names.end());
  return {{},
          concat("unknown key '", name, "'"),
          "caddie runs list --keys lists what can be asked for",
          closest(name, candidates)};
}

}  // namespace caddie::registry
