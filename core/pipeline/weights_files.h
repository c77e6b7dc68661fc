// Weights in and out as safetensors files with the model's parameter names: those that a run or a stage made, and those
// that were trained elsewhere and take the place of training (the manifest's train.weights).
#pragma once

#include <filesystem>
#include <string>

#include "caddie/model.h"
#include "core/artifact/quantized_model.h"
#include "core/base/json.h"
#include "core/pipeline/cache.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {

// Every parameter of the model exactly once, as float32, in the model's order. float64, float16 and bfloat16 are taken
// too. Throws Error(data) naming the file and every kind of fault with the first names: missing, unknown, of another
// shape, no floating-point numbers, not finite.
CADDIE_API artifact::NamedWeights read_model_weights(Model& model, const std::filesystem::path& file);

// The result of a train stage: a run (its folder, id, or the beginning of an id), or the stage's key (at least 8 digits).
struct TrainedWeights {
  std::filesystem::path folder;  // in the cache
  std::string key;
  Json outputs;                  // "weights_hash", ...
  Json ingredients;              // of the key: "model", ...
};
// Throws Error(usage) for a name that is nothing, Error(data) if the cache no longer holds the weights.
CADDIE_API TrainedWeights find_trained_weights(const std::filesystem::path& runs, const std::filesystem::path& cache,
                                               const std::string& run_or_key);
// Writes averaged (or last) weights with what is known about them as the file's metadata ("format", "model", ...).
CADDIE_API artifact::NamedWeights export_weights(const TrainedWeights& trained, bool last,
                                                 const std::filesystem::path& file);

}  // namespace caddie::pipeline
