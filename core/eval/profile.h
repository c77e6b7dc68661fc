// Where a flat score comes from: its nats by position in the window and by the bytes that a target stands for. Sums in
// float64 beside those of the score; nothing of a score is derived from them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "caddie/communicator.h"
#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::eval {

class CADDIE_API LossProfile {
 public:
  // Targets of this many bytes and more are counted together.
  static constexpr std::int64_t kLongest = 32;

  LossProfile(std::int64_t sequence, at::Device device);
  // nats [rows, sequence] floating, bytes [rows, sequence] of any integer type, both on the device.
  void add(const at::Tensor& nats, const at::Tensor& bytes);
  // Adds the other ranks' sums, in place.
  void reduce(Communicator* communicator);
  // {"position": {"from": [...], "nats": [...], "tokens": [...]}, "bytes": {"length": [...], "nats": [...],
  // "tokens": [...]}}. Positions in groups that widen, each from its `from` to the next one's; the last ends with the
  // sequence. Lengths without a target are left out.
  Json to_json() const;

 private:
  std::int64_t sequence_;
  at::Tensor sums_;  // float64: nats by position [sequence]; rows [1]; nats and tokens by length [2 x (kLongest + 1)]
};

}  // namespace caddie::eval
