// The stage cache as a store: what it holds, and what goes when it is too large. Entries that a run computes or reads
// at that moment are never touched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::registry {

struct CacheItem {
  std::string stage, key;
  std::filesystem::path folder;
  std::int64_t bytes = 0;
  double seconds = 0;          // that computing it took
  std::int64_t last_used = 0;  // Unix time: of entry.json, which a hit renews
  bool in_use = false;
};
// Least recently used first.
CADDIE_API std::vector<CacheItem> cache_items(const std::filesystem::path& root);

struct CollectOptions {
  std::int64_t max_bytes = -1;    // what may stay; -1: no limit
  double older_than_seconds = 0;  // only what was not used for so long; with no limit all of that goes
  bool dry_run = false;
};
struct Collected {
  std::vector<CacheItem> removed, kept_in_use;  // `kept_in_use`: would have gone
  std::int64_t bytes_before = 0, bytes_after = 0;
};
// Also removes what computations that died have left (".tmp." folders whose process is gone).
CADDIE_API Collected collect_cache(const std::filesystem::path& root, const CollectOptions& options);

// "10G", "500MB", "1.5GiB", "123456": bytes; G is 10^9. Throws Error(usage).
CADDIE_API std::int64_t parse_size(const std::string& text);
// "30d", "12h", "90m", "45s": seconds. Throws Error(usage).
CADDIE_API double parse_age(const std::string& text);

}  // namespace caddie::registry
