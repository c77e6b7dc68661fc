// Averages of the weights over training: a moving average from the initial weights on (EMA, without bias correction) and
// a running mean of late weights (SWA) or the mean of the latest few (LAWA: Kaddour, 2022), blended into the final weights.
// Reference section 3.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "caddie/model.h"
#include "caddie/state.h"
#include "core/base/safetensors.h"
#include "core/train/settings.h"

namespace caddie::train {

class CADDIE_API Averager {
 public:
  // Starts from the parameters' present values, and reads their values at every update. float32, on their device.
  Averager(const Averaging& settings, const std::vector<Parameter>& parameters);
  ~Averager();

  // After step `step` (from 0) that was made with this factor, when the share `progress` of the budget was used.
  void update(std::int64_t step, double rate_factor, double progress = 0);

  std::int64_t swa_count() const { return swa_count_; }
  NamedTensors ema() const;  // views of the state; empty without a moving average
  NamedTensors swa() const;  // views of the state; empty while nothing joined
  // blend x EMA + (1 - blend) x M, M the running mean (SWA) or the mean of the latest weights; without one of them the
  // other; without both the parameters. New tensors.
  NamedTensors final_weights() const;

  void save(StateWriter& writer) const;
  void load(const StateReader& reader);

 private:
  NamedTensors named(const std::vector<at::Tensor>& values) const;
  void allocate_swa();
  void take_latest();
  void load_latest(const StateReader& reader);
  std::vector<at::Tensor> late_mean() const;  // empty while nothing joined

  Averaging settings_;
  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_, ema_, swa_;
  std::int64_t swa_count_ = 0;
  std::vector<std::vector<at::Tensor>> latest_;  // a ring: the weights taken n-th are in slot n mod its size
  std::int64_t latest_taken_ = 0;
};

}  // namespace caddie::train
