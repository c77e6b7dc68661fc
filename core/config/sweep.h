// Sweep manifests: one base manifest, and what each of many runs changes in it. Parsing, checking and expansion only;
// runs are started by registry/sweep.
//
//   sweep: NAME          base: FILE (relative to this file)     seeds: [1, 2]     overrides: {path: value, ...}
// and at most one of
//   variants: {NAME: {path: value, ...}}   those runs; an empty map is the base itself
//   grid: {path: [values]}                 every combination, the first path outermost
//   zip: {path: [values]}                  the first values together, then the second ones, ...
//   random: {trials, seed, space: {path: [values] | {min, max, scale: linear|log}}}   integers if both ends are
//   ablate: {leave_one_out: {FEATURE: {path: value}}}    all features, then all but one, for each
//   ablate: {add_one_in: {FEATURE: {path: value}}}       none, then one alone, for each
// and, with any of them,
//   exclude: [{path: value or [values], ...}]   combinations to leave out: a run in whose manifest every path of one of
//                                               the maps has (one of) its values; `seed` is a path like any other
//   exclusive: true | [variant names]           these runs share their machine with no other run
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
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
    std::int64_t seed;                   // of the manifest that it resolves to
    Json resolved;
    std::vector<std::int64_t> without_seeds;  // of the sweep's seeds: those that `exclude` leaves out
    bool exclusive = false;
  };
  std::string name;
  std::filesystem::path file, base;  // absolute
  std::string text;                  // of `file`
  std::vector<std::int64_t> seeds;   // empty: each variant's own
  std::vector<Variant> variants;     // at least one: without variants, grid, ... it is the base, named after it
};

struct SweepRun {
  std::string name;  // of the variant
  std::int64_t seed;
  std::vector<std::string> overrides;  // of the variant, and `seed=N` where the sweep has seeds
  bool exclusive = false;
};

// Whether the file has the key `sweep` on its top level. False for a file that cannot be read as YAML.
CADDIE_API bool is_sweep(const std::filesystem::path& file);

// Reads a sweep and checks it whole: its own keys, the base, and every variant on the base. `overrides` of the command
// line join the sweep's own `overrides`, behind them; `seeds=[1, 2]` replaces its seeds. Throws ManifestError.
CADDIE_API Sweep load_sweep(const std::filesystem::path& file, const ComponentSchemas& schemas,
                            std::span<const std::string> overrides = {});

// Every variant with every seed, variants outermost.
CADDIE_API std::vector<SweepRun> expand(const Sweep& sweep);

}  // namespace caddie
