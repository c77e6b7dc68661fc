// The training stage: steps until the time or the steps are used up, warm-up steps that are undone, checkpoints, resuming.
// What a step computes is the trainer's (trainer.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "core/train/trainer.h"

namespace caddie::train {

struct StepMetrics {
  std::int64_t step;         // steps done, this one included: from 1
  double train_loss;         // nats, mean over micro batches and ranks
  double rate_factor;
  double elapsed_seconds;    // training time after the step, that before a resume included
  double tokens_per_second;  // of this step
};

struct TrainJob {
  Model& model;  // holds its initial weights
  BatchSource& batches;
  Communicator& communicator;
  Services& services;
  OptimizerFactory optimizers;
  std::filesystem::path checkpoint_folder;              // empty: no checkpoints, and none is resumed
  std::string identity;                                 // of this training (its stage key), kept in its checkpoints
  std::function<void(const StepMetrics&)> on_step;      // after each step; may be empty
  std::function<void(std::int64_t)> on_resume;          // steps done so far, before the first new one; may be empty
  std::function<double()> clock;                        // seconds, for tests; empty: the monotonic clock
  std::function<double(std::int64_t)> factor = {};      // before step n (from 0), for checks; empty: the schedule's
};

struct TrainResult {
  NamedTensors weights;       // averaged: what is quantized and scored
  NamedTensors last_weights;  // after the last step
  std::int64_t steps = 0;     // in all
  double seconds = 0;         // training time in all: neither warm-up nor checkpoints
  double last_step_started_at = 0;  // training time at which the last step began, for the budget's verdict
  double step_ms_median = 0;        // of the steps of this process
  double tokens_per_second = 0;     // of this process
  std::int64_t peak_memory_bytes = 0;  // of the device; on a CPU of the process
  double train_loss = 0;               // of the last step
  std::int64_t swa_count = 0;
  std::optional<std::int64_t> resumed_from_step;
};

// Trains until train.stop. A step starts only while less than stop.seconds of training time are used. Goes on from the
// latest checkpoint in the folder, if there is one: on a CPU the weights are bit for bit those of an uninterrupted run if
// the schedule goes by steps. When a stop is asked for, writes a checkpoint and throws Error(interrupted).
CADDIE_API TrainResult train(const TrainSettings& settings, const TrainJob& job);

// The rate factor before step `step`, `elapsed` seconds into training.
CADDIE_API double rate_factor(const TrainSettings& settings, std::int64_t step, double elapsed);

// The share of the budget, 0 to 1, that is used before step `step`, `elapsed` seconds into training: of train.stop.seconds or
// train.stop.steps, whichever the schedule goes by.
CADDIE_API double progress_share(const TrainSettings& settings, std::int64_t step, double elapsed);
// Tokens of a sequence at that share.
CADDIE_API std::int64_t sequence_at(const TrainSettings& settings, double progress);

}  // namespace caddie::train
