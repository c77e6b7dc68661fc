// What a CUDA device did between two moments: its kernels and copies with their times, as CUPTI tells them to LibTorch's
// profiler. For profiles, not for measurements: recording costs time of its own. On a CPU nothing is recorded.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie::ops {

struct KernelRun {
  std::string name;  // demangled, without parameters
  std::int64_t start_ns, duration_ns;  // the start by the clock of std::chrono::steady_clock
  std::int64_t stream;
};

struct KernelSum {
  std::string name;
  std::int64_t calls;
  double milliseconds;
};
struct KernelSums {
  std::vector<KernelSum> kernels;  // the longest first
  double busy_milliseconds = 0;    // in which at least one ran
  double idle_milliseconds = 0;    // between the first and the last, in which none ran
};
CADDIE_API KernelSums sum_kernels(const std::vector<KernelRun>& runs);

class CADDIE_API KernelRecord {
 public:
  // Begins to record. One at a time in a process: a second one records nothing.
  explicit KernelRecord(at::Device device);
  ~KernelRecord();
  KernelRecord(const KernelRecord&) = delete;
  KernelRecord& operator=(const KernelRecord&) = delete;

  // Waits for the device and ends; in the order of their starts. A second call gives nothing.
  std::vector<KernelRun> finish();

 private:
  at::Device device_;
  std::int64_t steady_less_system_ns_ = 0;
  bool recording_ = false;
};

}  // namespace caddie::ops
