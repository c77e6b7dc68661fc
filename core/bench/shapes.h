// The fixed sizes that `caddie bench` measures, so that figures of different days and machines are about the same work.
// `quick` and `small` suit two CPU cores, `reference` is the published system's size on one GPU.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie::bench {

CADDIE_API const std::vector<std::string>& shape_names();
// The manifest of a shape: fake quantization, Muon and AdamW, both averages, GPTQ, brotli, sliding windows of stride 64 and
// SGD at test time, with everything else as in reference.md. Throws Error(usage) for an unknown name.
CADDIE_API std::string shape_manifest(std::string_view shape);

}  // namespace caddie::bench
