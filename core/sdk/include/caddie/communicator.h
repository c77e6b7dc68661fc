// Ranks that work on one run. With one rank every operation returns at once.
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/export.h"

namespace caddie {

class CADDIE_API Communicator {
 public:
  virtual ~Communicator();
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // In place, on every rank: the sum over ranks, added in rank order where the backend allows it.
  virtual void all_reduce_sum(at::Tensor& tensor) = 0;
  // In place: rank `root`'s values on every rank.
  virtual void broadcast(at::Tensor& tensor, int root) = 0;
  virtual void barrier() = 0;
};

}  // namespace caddie
