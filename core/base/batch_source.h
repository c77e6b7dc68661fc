// Where training takes its batches from. core/data implements it; core/train only reads.
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/export.h"
#include "caddie/state.h"

namespace caddie {

struct Batch {
  at::Tensor inputs, targets;  // int64 [rows, sequence], on the device that the source was made for
};

class CADDIE_API BatchSource {
 public:
  virtual ~BatchSource();
  // The next micro batch of this rank. The order is the source's own and reproducible.
  virtual Batch next() = 0;
  // The position, so that a loaded source goes on with exactly the batch that would have come next.
  virtual void save(StateWriter& writer) const = 0;
  virtual void load(const StateReader& reader) = 0;
};

}  // namespace caddie
