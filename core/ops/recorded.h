// Work that is the same at every call: on a CUDA device it is recorded once, as a CUDA graph, and repeated with one launch;
// elsewhere, and where recording fails, it is simply done again.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

#include "caddie/export.h"

namespace caddie::ops {

class CADDIE_API Recorded {
 public:
  // `warm`: calls that are done plainly before the one that is recorded; libraries choose their kernels in them.
  explicit Recorded(at::Device device, int warm = 2);
  ~Recorded();
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  // `body` must launch the same work on the same memory whenever it is called, keep what it reads and writes beyond a call in
  // tensors that were there before, and wait for nothing. Errors of `body` come out of the first call.
  void run(const std::function<void()>& body);
  // Forgets the recording, when shapes or places changed.
  void reset();
  bool repeats() const;  // whether a recording is used now

  class Recorder;

 private:
  std::unique_ptr<Recorder> recorder_;  // null: no such device
};

// While one lives, the ops of generation that this thread calls may start on a device before what was launched ahead of them has
// ended, as far as their weights, scales and tables go; all else they read and write in order. So weights must be complete when it
// begins (a device waited for, or another op launched in it first), and nobody may write them while it lives.
class CADDIE_API EarlyLaunches {
 public:
  explicit EarlyLaunches(bool wanted = true);
  ~EarlyLaunches();
  EarlyLaunches(const EarlyLaunches&) = delete;
  EarlyLaunches& operator=(const EarlyLaunches&) = delete;
  static bool allowed();

 private:
  bool before_;
};

}  // namespace caddie::ops
