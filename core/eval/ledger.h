// The ledger of a test-time training evaluation: one JSON line an event, in the order of events, chained by hashes. A
// score is written before the strategy sees the chunk, and verify_ledger() proves from the file alone that no target
// was adapted on before it was scored, that none was scored twice, and that the sums add up to the printed score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/eval/score.h"

namespace caddie::eval {

// Intervals are target positions [from, to); position i is token i + 1 of the text.
struct ScoredEntry {
  std::int64_t chunk, from, to;
  Score score;  // of the interval alone
  double seconds;
};
struct AdaptedEntry {
  std::int64_t chunk, from, to;
  double rate, seconds;
};

class CADDIE_API Ledger {
 public:
  // Starts a new file: an evaluation that is repeated leaves one ledger. Empty path: nothing is written (other ranks).
  // `about` is kept in the first line (strategy, stride, chunk, ...).
  Ledger(std::filesystem::path path, const Json& about);
  void scored(const ScoredEntry& entry);
  void adapted(const AdaptedEntry& entry);
  void finish(const Score& total);

 private:
  void write(Json line);
  std::filesystem::path path_;
  std::int64_t number_ = 0;
  std::string previous_;  // sha-256 of the line before
};

struct LedgerSummary {
  Json about;
  Score score;
  std::int64_t scored_chunks, adapted_chunks;
  double adapt_seconds, score_seconds;
  std::string hash;  // of the last line; it pins every line before it
};
// Throws Error(legality), naming the line, if the order, the chain or the sums do not hold, and if the ledger is
// unfinished; Error(data) if the file cannot be read.
CADDIE_API LedgerSummary verify_ledger(const std::filesystem::path& path);

}  // namespace caddie::eval
