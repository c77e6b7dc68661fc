#include "core/ops/kernel_record.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <map>

#include "caddie/error.h"
#include "core/base/log.h"

namespace caddie::ops {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

std::atomic<bool> taken{false};

template <class Clock>
std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

// "void name<arguments>(parameters)" without the first and the last part.
std::string without_parameters(std::string name) {
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>' && (i == 0 || name[i - 1] != '-')) --depth;
    const bool parameters = name[i] == '(' && depth == 0 && i > 0 && name.compare(i, 11, "(anonymous ") != 0;
    if (parameters) return name.substr(0, i);
  }
  return name;
}

}  // namespace

KernelSums sum_kernels(const std::vector<KernelRun>& runs) {
  std::map<std::string, KernelSum> by_name;
  KernelSums sums;
  std::int64_t busy_until = runs.empty() ? 0 : runs.front().start_ns, busy = 0, idle = 0;
  for (const KernelRun& run : runs) {
    KernelSum& sum = by_name.try_emplace(run.name, KernelSum{run.name, 0, 0}).first->second;
    ++sum.calls;
    sum.milliseconds += static_cast<double>(run.duration_ns) / 1e6;
    const std::int64_t end = run.start_ns + run.duration_ns;
    if (run.start_ns > busy_until) idle += run.start_ns - busy_until;
    if (end > busy_until) {
      busy += end - std::max(run.start_ns, busy_until);
      busy_until = end;
    }
  }
  for (auto& [name, sum] : by_name) sums.kernels.push_back(std::move(sum));
  std::stable_sort(sums.kernels.begin(), sums.kernels.end(),
                   [](const KernelSum& a, const KernelSum& b) { return a.milliseconds > b.milliseconds; });
  sums.busy_milliseconds = static_cast<double>(busy) / 1e6;
  sums.idle_milliseconds = static_cast<double>(idle) / 1e6;
  return sums;
}

KernelRecord::KernelRecord(at::Device device) : device_(device) {
  if (!device.is_cuda() || taken.exchange(true)) return;
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<ActivityType> activities = {ActivityType::CUDA};
  try {
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities);
  } catch (const std::exception& error) {
    taken = false;
    log::warning(concat("the device's kernels are not recorded: ", error.what()));
    return;
  }
  recording_ = true;
  steady_less_system_ns_ = now_ns<std::chrono::steady_clock>() - now_ns<std::chrono::system_clock>();
}

std::vector<KernelRun> KernelRecord::finish() {
  std::vector<KernelRun> runs;
  if (!recording_) return runs;
  c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.has_index() ? device_.index() : 0);
  const auto result = profiler::disableProfiler();
  recording_ = false;
  taken = false;
  for (const auto& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA || event.durationNs() == 0) continue;
    runs.push_back({without_parameters(event.name()), static_cast<std::int64_t>(event.startNs()) + steady_less_system_ns_,
                    static_cast<std::int64_t>(event.durationNs()), event.deviceResourceId()});
  }
  std::stable_sort(runs.begin(), runs.end(), [](const KernelRun& a, const KernelRun& b) { return a.start_ns < b.start_ns; });
  return runs;
}

KernelRecord::~KernelRecord() {
  try {
    finish();
  } catch (...) {  // a profile is not worth the run
  }
}

}  // namespace caddie::ops
