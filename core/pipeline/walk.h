// What a run needs from the stage cache, followed stage by stage as far as the cache's content allows. `plan` shows it
// for one run; a sweep puts the needs of many runs side by side and sees what they share before anything is computed.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/pipeline/cache.h"
#include "core/pipeline/need.h"
#include "core/pipeline/session.h"
#include "core/pipeline/stages.h"

namespace caddie::pipeline {

class CADDIE_API Walk {
 public:
  explicit Walk(const std::filesystem::path& cache);  // empty: StageCache::default_root()

  struct Steps {
    std::vector<Need> needs;   // in the order in which a run comes to them
    Json identity;             // of the data; {} while it is not computed
    Json outputs;              // of the train stage; null while it is not computed
    std::string evaluate_key;  // of the stage as a whole; empty while it is not known
    std::string missing;       // why the data has no key; empty if it has one
  };
  // Throws what the sections' readers throw; data that is missing is told in `missing`. What was found for one run is
  // kept for the next ones: entries are verified once.
  Steps follow(const Session& session);

 private:
  const CacheEntry* look(const StageKey& key, bool known, const char* what, Steps& steps);
  StageKey data_key(const Session& session, Steps& steps);

  StageCache cache_;
  std::map<std::string, std::optional<CacheEntry>> found_;  // by key
  std::map<std::string, StageKey> data_keys_;               // by the section `data`
};

}  // namespace caddie::pipeline
