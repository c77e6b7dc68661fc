// The host of score-first test-time training (reference.md section 5): for each chunk, score all of its windows,
// record the score, and only then hand the chunk to the strategy. After the call the model holds the adapted
// parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "caddie/communicator.h"
#include "caddie/model.h"
#include "caddie/ttt.h"
#include "core/eval/evaluate.h"
#include "core/eval/ledger.h"
#include "core/eval/score.h"

namespace caddie::eval {

struct TttSettings {
  std::int64_t chunk = 131072;      // targets
  bool documents = false;           // chunks end where documents end
  std::vector<std::string> freeze;  // roles, groups or name patterns that are not adapted
  // `ttt` section of a resolved manifest; the strategy's own options are not read here.
  static CADDIE_API TttSettings from_json(const Json& section);
};

struct ChunkRecord {
  std::int64_t index;
  Score score;
  double rate;               // 0: nothing was trained
  std::int64_t sequences;    // whole sequences adapted on, over all ranks
  double score_seconds, adapt_seconds;
};

struct TttResult {
  Score score;
  std::vector<ChunkRecord> chunks;
};

// `ledger` may be null (other ranks than the first). `after_chunk` is called when a chunk is scored and adapted on. A
// strategy that does not adapt gives the plain sliding score, as one chunk.
//
// A chunk's own sequences start at its first position; only whole ones count, and only those whose targets were all
// scored (a stride that does not divide can leave the last few of the text unscored: the reference would train on
// them). With `documents` a chunk ends where its document ends too, and one that is shorter than a sequence is a shorter
// sequence. Ranks take contiguous parts of a chunk's windows and of its sequences. Where the sequences do not divide by
// the ranks, the last ranks' parts overlap, so that every rank makes the same number of steps.
//
// The score is that of the number of ranks: a strategy's batch is a rank's, and gradients are averaged, so N ranks take steps
// over N times the sequences, N times fewer of them. That is what the reference does on 8 GPUs.
CADDIE_API TttResult adapt(Model& model, const Text& text, const Settings& settings, const TttSettings& ttt,
                           TttStrategy& strategy, Communicator* communicator = nullptr, Ledger* ledger = nullptr,
                           const std::function<void(const ChunkRecord&)>& after_chunk = {});

}  // namespace caddie::eval
