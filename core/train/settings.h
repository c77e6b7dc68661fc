// What a manifest says about training: sections `train` and `optimizers`. Options of the optimizers are their plugins'
// own. Values were checked by core/config; what depends on several of them is checked here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::train {

enum class ScheduleShape { linear, cosine, constant };

// The factor that multiplies every learning rate: 1, then falling to `minimum` over the last `warmdown` share of the budget.
struct Schedule {
  ScheduleShape shape = ScheduleShape::linear;
  double warmdown = 0.35;  // share of the budget, 0 to 1
  double minimum = 0;
};

struct Averaging {
  std::optional<double> ema;     // decay a step; empty: no moving average
  std::int64_t swa_every = 0;    // 0: no running mean
  double swa_below = 0.5;        // weights join while the factor is strictly below
  double blend = 0.5;            // share of the moving average in the final weights
  std::int64_t latest_count = 0;  // the mean of the last so many of the weights taken, in place of the running mean; 0: off
  std::int64_t latest_every = 0;
  double swa_from = 0;  // share of the budget before which no weights join
};

struct FakeQuant {
  std::string match;
  int bits;
};

// While less than the share `until` of the budget is used, sequences have `sequence` tokens.
struct SequenceStage {
  double until;
  std::int64_t sequence;  // divides TrainSettings::sequence
};

struct CADDIE_API TrainSettings {
  std::int64_t sequence = 0;         // tokens a row
  std::int64_t tokens_per_step = 0;  // over all ranks
  std::int64_t micro_batches = 1;    // over all ranks
  std::int64_t warmup_steps = 0;     // undone before training begins
  std::optional<double> stop_seconds;
  std::optional<std::int64_t> stop_steps;
  double checkpoint_seconds = 60;     // 0: none by time
  std::int64_t checkpoint_steps = 0;  // 0: none by steps
  Schedule schedule;
  bool schedule_by_seconds = false;
  std::vector<SequenceStage> sequence_schedule;  // shorter sequences first, as many tokens a step; empty: `sequence` always
  std::vector<FakeQuant> fake_quant;
  double fake_quant_from = 0;  // share of the budget that is trained before without rounding
  Averaging average;
  double gradient_clip = 0;            // global norm; 0: off
  std::vector<std::string> optimizers;  // `match` of each entry, in the manifest's order

  // From a resolved manifest. Throws Error(usage) where values contradict each other.
  static TrainSettings from_json(const Json& manifest);
};

}  // namespace caddie::train
