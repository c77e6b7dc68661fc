// Flat and sliding scores of a model (reference.md section 5). Callers have called model.prepare(false) after the last
// change of the parameters; nothing here changes the model. Both throw Error(interrupted) between two batches.
//
// The reference takes each batch's mean in float32 before it adds in float64; here every target's float32 nats are
// added in float64.
#pragma once

#include <cstdint>
#include <functional>

#include "caddie/communicator.h"
#include "caddie/model.h"
#include "core/eval/profile.h"
#include "core/eval/score.h"
#include "core/eval/windows.h"

namespace caddie::eval {

// Non-overlapping sequences. Ranks take contiguous parts; every rank returns the score of the whole text, and fills
// `profile` (made for the sequence and the model's device) if there is one.
CADDIE_API Score flat(Model& model, const Text& text, const Settings& settings, Communicator* communicator = nullptr,
                      LossProfile* profile = nullptr);

// Overlapping windows; only scored rows reach the head. Ranks take every size-th window; every rank returns the whole
// score.
CADDIE_API Score sliding(Model& model, const Text& text, const Settings& settings,
                         Communicator* communicator = nullptr);

// Windows first, first + step, ... below `end` of the list that sliding_windows(text.targets, sequence, stride) gives.
struct WindowRange {
  std::int64_t first, end, step;
};
// Scores these windows on this rank alone (not reduced): a rank's part of a sliding score or of a chunk. `done` is
// called after each batch with the number of windows scored so far; it may be empty.
CADDIE_API Score score_windows(Model& model, const Prepared& text, const Settings& settings, const WindowRange& range,
                               const std::function<void(std::int64_t windows)>& done = {});

}  // namespace caddie::eval
