// A run's manifest: YAML files and overrides in, one checked JSON value out, with the origin of every value.
// Semantics of `extends`, overrides, selectors, paths and null: see load_manifest(). Sweeps are in sweep.h.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/error.h"
#include "caddie/export.h"
#include "core/base/json.h"
#include "core/config/schemas.h"

namespace caddie {

// One thing that is wrong, where it is, and what to do. `line` and `column` count from 1, columns in characters.
struct Problem {
  std::string file;         // as the person would write it; "command line" for an override
  int line = 0;             // 0: about the file as a whole
  int column = 0;
  std::string message;      // "unknown option 'lrr' for optimizer 'muon'"
  std::string suggestion;   // the word to write instead, may be empty
  std::string note;         // what else helps: "caddie plugin info muon lists all"; may be empty
  std::string snippet;      // the source line, or the override
  int length = 1;           // characters to mark
};

// Everything that is wrong with a manifest, found in one pass and sorted by position.
class CADDIE_API ManifestError : public Error {
 public:
  explicit ManifestError(std::vector<Problem> problems);
  ~ManifestError() override;
  const std::vector<Problem>& problems() const noexcept { return problems_; }

 private:
  std::vector<Problem> problems_;
};

// "error: ...\n  --> file:line:column\n ...\n2 errors; nothing was run."
CADDIE_API std::string render(std::span<const Problem> problems);

struct Manifest {
  std::filesystem::path file;                   // absolute
  std::vector<std::filesystem::path> sources;   // `file`, what it extends, what that extends, ...
  std::string text;                             // of `file`, as it was read
  std::vector<std::string> overrides;           // as given
  Json resolved;                                // checked, defaults filled in; paths absolute
  std::vector<std::string> notes;               // what the person should be told in the log
  std::map<std::string, std::string> origins;   // leaf of `resolved` ("optimizers[0].use") -> where it was set

  // "experiments/a.yaml:14", "command line: seed=3" or "default".
  CADDIE_API std::string origin(const std::string& path) const;
};

// Reads, merges and checks.
// - `extends: FILE` (relative to the file): maps merge, everything else replaces. Chains are allowed.
// - An override is `key.path=value`, the value being YAML, applied from left to right like a small file that extends
//   the one before. `list[key=value]` selects entries (all that match; at least one), `list[0]` selects by position.
// - null takes an optional section or value away; a section with defaults goes back to them.
// - A change of `use` drops what was set before it and the new plugin does not have; `notes` says so.
// - Relative paths under `data` are relative to the file that says them, on the command line to the working directory.
// - A frozen manifest (frozen.h) is taken as it is, and takes no overrides.
// Throws ManifestError.
CADDIE_API Manifest load_manifest(const std::filesystem::path& file, std::span<const std::string> overrides,
                                  const ComponentSchemas& schemas);

}  // namespace caddie
