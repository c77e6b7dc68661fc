// How fast training, quantizing and compressing were on this machine, kept in the cache's root (speed.json), so that `plan` predicts from what was seen.
// It is a convenience: it may be lost at any time, and nothing but predictions depends on it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/base/json.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {

// Keeps what a training run reached. `train` are the train stage's outputs.
void remember_speed(const std::filesystem::path& cache, const Session& session, Model& model, const Json& train);

// Floating-point operations a second that training a model of this size will reach: as the run of the nearest size did on
// this device in this precision with as many threads, or else half of what a matrix product reaches now.
double expected_speed(const std::filesystem::path& cache, const Session& session, Model& model);

// Keeps what computing `stage` (quantize or compress) took with the manifest's section of that name.
void remember_stage(const std::filesystem::path& cache, const Session& session, const std::string& stage, Model& model,
                    double seconds);

// Seconds that it will take: as with the same section for the model of the nearest size, in proportion to the parameters.
// Absent where nothing alike was seen on this device.
std::optional<double> expected_stage(const std::filesystem::path& cache, const Session& session,
                                     const std::string& stage, Model& model);

}  // namespace caddie::pipeline
