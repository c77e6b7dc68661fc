// Expected artifact size before anything was trained, for `plan`: entropy of Gaussian weights' codes, at the
// compressor's own rate over it.
#pragma once

#include <cstdint>
#include <span>

#include "caddie/compressor.h"
#include "caddie/model.h"
#include "core/artifact/quantize.h"

namespace caddie::artifact {

struct ArtifactPrediction {
  std::int64_t bytes = 0;  // of the file
  double raw_bytes = 0, entropy_bytes = 0;
};

// `parameters` may be on the meta device.
CADDIE_API ArtifactPrediction predict_artifact_bytes(std::span<const Parameter> parameters,
                                                     const QuantizeSettings& settings, const QuantizerFactory& factory,
                                                     const Compressor& compressor);

}  // namespace caddie::artifact
