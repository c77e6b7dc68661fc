// In which order the blocks run, and which earlier output each position takes in (U-Net skips). With depth recurrence
// some blocks run several times, and the skips connect positions of that longer order.
#pragma once

#include <optional>
#include <vector>

#include "config.h"

namespace unet_gpt {

struct Skip {
  std::int64_t row;     // of skip.weight
  std::int64_t source;  // the position whose output is added
};

struct Position {
  std::int64_t block;
  std::optional<Skip> skip;
  bool encodes;  // its output is kept for a skip
};

// The first half of the positions encodes, the rest decodes. Without recurrence the skips are the reference's for every
// depth (reference section 2: an odd depth leaves rows unused); with it the j-th decoding position takes the output of
// the j-th last encoding one, before the loop begins and after.
std::vector<Position> execution_order(const Config& config, bool looped);

}  // namespace unet_gpt
