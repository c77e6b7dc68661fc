#include "core/ops/recorded.h"

#include <cstdlib>
#include <string_view>

#include "core/ops/cuda/recorder.h"

namespace caddie::ops {

#ifdef CADDIE_CUDA_KERNELS_BUILT
namespace {
std::unique_ptr<Recorded::Recorder> recorder_for(at::Device device, int warm) {
  return device.is_cuda() ? cuda::make_recorder(device, warm) : nullptr;
}
}  // namespace
#else
namespace {
std::unique_ptr<Recorded::Recorder> recorder_for(at::Device, int) { return nullptr; }
}  // namespace
#endif

Recorded::Recorder::~Recorder() = default;
Recorded::Recorded(at::Device device, int warm) : recorder_(recorder_for(device, warm)) {}
Recorded::~Recorded() = default;

void Recorded::run(const std::function<void()>& body) {
  if (recorder_)
    recorder_->run(body);
  else
    body();
}

void Recorded::reset() {
  if (recorder_) recorder_->reset();
}

bool Recorded::repeats() const { return recorder_ && recorder_->repeats(); }

namespace {
thread_local bool early_launches = false;
}

EarlyLaunches::EarlyLaunches(bool wanted) : before_(early_launches) {
  const char* asked = std::getenv("CADDIE_EARLY_LAUNCHES");
  early_launches = wanted && !(asked != nullptr && std::string_view(asked) == "0");
}
EarlyLaunches::~EarlyLaunches() { early_launches = before_; }
bool EarlyLaunches::allowed() { return early_launches; }

}  // namespace caddie::ops
