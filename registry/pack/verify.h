// Checking a submission folder from its files alone: sizes, hashes, ledgers, decoded weights, and the scores, which are
// computed again through the functions of `eval`.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "caddie/error.h"
#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie {
class Catalogue;
}

namespace caddie::registry {

struct VerifyOptions {
  std::vector<std::string>
      overrides;            // where the data lie here: data.validation=...; may change nothing but `data`, `device`
  bool score = true;        // false: files, bytes, ledgers and decoding only
  double tolerance = 1e-6;  // bits per byte; another device or precision needs more
};

struct Check {
  std::string what;  // "seed 1: ttt_bpb"
  bool passed = false;
  std::string stated, found;         // for people
  ErrorKind kind = ErrorKind::data;  // what it means if it failed
};
struct CADDIE_API Verification {
  std::vector<Check> checks;
  bool passed() const;
  // Of the gravest failed check: legality, budget, data.
  ErrorKind kind() const;
};

// Nothing is written but a scratch folder, which is removed. Throws Error(data) if the folder is no submission, and
// what the manifest's loading throws; failed checks are in the result.
CADDIE_API Verification verify_submission(const std::filesystem::path& folder, const VerifyOptions& options,
                                          std::shared_ptr<const Catalogue> catalogue);

CADDIE_API Json to_json(const Verification& verification);

// verify.cpp needs no tensors; these two do (replay.cpp).
std::string decoded_hash(const std::filesystem::path& artifact, const Catalogue& catalogue);
// The `metrics` of `eval`, computed in `scratch`.
Json replay_scores(const std::filesystem::path& manifest, const std::vector<std::string>& overrides,
                   const std::filesystem::path& artifact, const std::filesystem::path& scratch,
                   std::shared_ptr<const Catalogue> catalogue);

}  // namespace caddie::registry
