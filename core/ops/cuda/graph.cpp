// CUDA graphs: plain calls on a stream of their own first, then one that is recorded, then repetitions. Memory that a recorded
// call takes and gives back stays the graph's.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <optional>
#include <string_view>

#include "caddie/error.h"
#include "core/base/log.h"
#include "core/ops/cuda/recorder.h"

namespace caddie::ops::cuda {
namespace {

void check(cudaError_t status, const char* what) {
  CADDIE_CHECK(status == cudaSuccess, ErrorKind::failed, what, ": ", cudaGetErrorString(status));
}

// `later` goes on when what `earlier` has now is done.
void wait(const c10::cuda::CUDAStream& later, const c10::cuda::CUDAStream& earlier) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "a CUDA event");
  const auto recorded = cudaEventRecord(event, earlier.stream());
  const auto waiting = recorded == cudaSuccess ? cudaStreamWaitEvent(later.stream(), event, 0) : recorded;
  check(cudaEventDestroy(event), "a CUDA event");
  check(waiting, "waiting for a CUDA stream");
}

class Graph final : public Recorded::Recorder {
 public:
  Graph(at::Device device, int warm)
      : device_(device),
        side_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.has_index() ? device.index() : c10::cuda::current_device())),
        warm_(warm) {
    const char* wanted = std::getenv("CADDIE_CUDA_GRAPHS");
    off_ = wanted != nullptr && std::string_view(wanted) == "0";
  }

  ~Graph() override { drop(); }

  void run(const std::function<void()>& body) override {
    const c10::cuda::CUDAGuard on(side_.device());
    if (graph_) return graph_->replay();
    if (off_) return body();
    const auto outer = c10::cuda::getCurrentCUDAStream();
    wait(side_, outer);
    {
      const c10::cuda::CUDAStreamGuard guard(side_);
      if (calls_++ < warm_)
        body();
      else
        record(body);
    }
    wait(outer, side_);
    if (graph_) return graph_->replay();
    if (off_) body();
  }

  void reset() override {
    drop();
    calls_ = 0;
  }

  bool repeats() const override { return graph_.has_value(); }

 private:
  // A recorded call computes nothing; it is repeated at once.
  void record(const std::function<void()>& body) {
    graph_.emplace();
    bool began = false;
    try {
      graph_->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      began = true;
      body();
      graph_->capture_end();
    } catch (const std::exception& error) {
      const std::string why = first_line(error);
      if (began) end_capture();
      graph_.reset();
      off_ = true;
      log::warning(concat("a step could not be recorded as a CUDA graph (", why, "); it is launched piece by piece"));
    }
  }

  static std::string first_line(const std::exception& error) {
    const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
    const std::string text = of_torch != nullptr ? of_torch->what_without_backtrace() : error.what();
    return text.substr(0, text.find('\n'));
  }

  void end_capture() {
    try {
      graph_->capture_end();
    } catch (const std::exception&) {  // the first error says it
    }
    cudaGetLastError();
  }

  void drop() {
    if (!graph_) return;
    cudaDeviceSynchronize();  // repetitions may still run
    graph_.reset();
  }

  at::Device device_;
  c10::cuda::CUDAStream side_;
  int warm_, calls_ = 0;
  bool off_ = false;
  std::optional<at::cuda::CUDAGraph> graph_;
};

}  // namespace

std::unique_ptr<Recorded::Recorder> make_recorder(at::Device device, int warm) { return std::make_unique<Graph>(device, warm); }

}  // namespace caddie::ops::cuda
