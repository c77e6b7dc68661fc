// What general-purpose compressors reach on the validation text, in bits per byte: a scale for a model's score.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie::data {

struct Baseline {
  std::string name;  // "xz -9e", "zstd -22 after the training text"
  double bits_per_byte;
};

// Each compressor on the validation text alone; with `training_text`, also those that can look back at it (at its last
// 8 MiB, which cost nothing themselves). Empty validation text: no baselines. Seconds for a text of a few megabytes.
CADDIE_API std::vector<Baseline> validation_baselines(std::string_view validation_text,
                                                      std::string_view training_text = {}, int threads = 1);

}  // namespace caddie::data
