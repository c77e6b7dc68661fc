// The stage cache: what a stage wrote, under the hash of everything that it depended on.
//
//   <root>/<stage>/<key[0:2]>/<key>/   files of the stage, and entry.json, which lists them with sizes and SHA-256
//   <root>/locks/<key>                 held while a stage computes, so that two runs do not compute the same
//
// An entry appears whole or not at all (built under a temporary name, then renamed). An entry that does not hold what it
// lists is a warning, a deletion and a miss.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::pipeline {

// What a key was made of; it is kept with the entry, so that a miss can be explained.
struct CADDIE_API StageKey {
  std::string stage;  // "train", ...
  Json ingredients;
  std::string hash() const;  // SHA-256 of the stage's name and the ingredients, 64 hex digits
};

struct CacheEntry {
  std::filesystem::path folder;
  Json outputs;    // the stage's small results (figures, hashes)
  double seconds;  // that computing it took
  std::string run;  // id of the run that computed it; empty if no run did
};

class CADDIE_API StageCache {
 public:
  explicit StageCache(std::filesystem::path root);
  // Entries that are computed from here on name this run.
  void set_run(std::string id) { run_ = std::move(id); }
  // $CADDIE_CACHE, else $XDG_CACHE_HOME/caddie, else ~/.cache/caddie.
  static std::filesystem::path default_root();

  // A complete entry whose files are what entry.json lists, or nothing. Does not create the root.
  std::optional<CacheEntry> find(const StageKey& key) const;

  // Finds the entry or computes it: `compute` writes files into the folder that it is given and returns the outputs.
  // Several processes that ask for the same key compute once; the others wait. `hit` says which it was. With
  // `ignore_existing` the entry is computed again and replaced.
  CacheEntry get(const StageKey& key, bool ignore_existing,
                 const std::function<Json(const std::filesystem::path&)>& compute, bool& hit);

  const std::filesystem::path& root() const { return root_; }

 private:
  std::filesystem::path folder_of(const StageKey& key) const;
  std::filesystem::path root_;
  std::string run_;
};

}  // namespace caddie::pipeline
