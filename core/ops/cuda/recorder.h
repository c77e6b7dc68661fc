// What core/ops/recorded.h asks of a device.
#pragma once

#include "core/ops/recorded.h"

namespace caddie::ops {

class Recorded::Recorder {
 public:
  virtual ~Recorder();
  virtual void run(const std::function<void()>& body) = 0;
  virtual void reset() = 0;
  virtual bool repeats() const = 0;
};

namespace cuda {
std::unique_ptr<Recorded::Recorder> make_recorder(at::Device device, int warm);
}

}  // namespace caddie::ops
