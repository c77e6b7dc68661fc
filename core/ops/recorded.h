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

}  // namespace caddie::ops
