// Ranks that work on one run. With one rank every operation returns at once. All ranks call the same operations in the same
// order; a rank that fails makes the calls of the others throw.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "caddie/export.h"

namespace caddie {

// An operation that was started and may still run. Dropping it without wait() is allowed only after an error.
class CADDIE_API PendingOperation {
 public:
  virtual ~PendingOperation();
  // On a CPU the result is there afterwards; on a GPU, for everything that the current stream does from now on.
  virtual void wait() = 0;
};

class CADDIE_API Communicator {
 public:
  virtual ~Communicator();
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // In place, on every rank: the sum over ranks, added in rank order where the backend allows it; the same bits on all ranks.
  virtual void all_reduce_sum(at::Tensor& tensor) = 0;
  // The same, started; `tensor` is not touched before wait(). Null if it is done already.
  virtual std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor tensor) = 0;
  // In place: row r of the contiguous `rows` [size, ...] is rank r's before, and every rank has all of them after.
  virtual void all_gather(at::Tensor& rows) = 0;
  // In place: rank `root`'s values on every rank.
  virtual void broadcast(at::Tensor& tensor, int root) = 0;
  virtual void barrier() = 0;
};

}  // namespace caddie
