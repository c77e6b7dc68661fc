// The quantize stage's output on disk: codes.safetensors and codes.json in one folder.
#pragma once

#include <filesystem>

#include "core/artifact/quantized_model.h"

namespace caddie::artifact {

// Writes both files, each whole or not at all; the JSON comes last.
CADDIE_API void write_codes(const std::filesystem::path& folder, const QuantizedModel& model);
// Throws Error(data) when the files do not agree with each other.
CADDIE_API QuantizedModel read_codes(const std::filesystem::path& folder);

}  // namespace caddie::artifact
