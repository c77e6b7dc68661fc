// Sweep manifests: one base manifest, and what each of many runs changes in it. Parsing, checking and expansion only;
// runs are started by registry/sweep.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/config/manifest.h"

namespace caddie {

struct Sweep {
  // One point of the sweep, before seeds.
  struct Variant {
    std::string name;                    // unique in the sweep, usable in a file name
    std::vector<std::string> overrides;  // `path=value`, the sweep's own `overrides` first; paths of files are absolute
  };
  std::string name;
  std::filesystem::path file, base;  // absolute
  std::string text;                  // of `file`
  std::vector<std::int64_t> seeds;   // empty: the base's own seed
  std::vector<Variant> variants;
};

struct SweepRun {
  std::string name;  // of the variant
  std::int64_t seed;
  std::vector<std::string> overrides;  // of the variant; `seed` is not among them
};

// Whether the file has the key `sweep` on its top level. False for a file that cannot be read as a manifest at all.
CADDIE_API bool is_sweep(const std::filesystem::path& file);

// Reads a sweep and checks it whole: its own keys, the base, and every variant applied to the base. Throws ManifestError.
CADDIE_API Sweep load_sweep(const std::filesystem::path& file, const ComponentSchemas& schemas);

// Every variant with every seed, variants outermost. `base_seed` is used where the sweep names no seeds.
CADDIE_API std::vector<SweepRun> expand(const Sweep& sweep, std::int64_t base_seed);

}  // namespace caddie
