// Repeated timings and what is said of them: the median, because a busy machine only ever adds time, and the quartiles, so
// that a reader sees how far to trust it.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::bench {

struct Spread {
  double median, low, high;  // low and high: quartiles, by linear interpolation
};
// Throws Error(failed) without samples.
CADDIE_API Spread spread(std::vector<double> samples);

// Seconds of each of `repeats` calls; `device`'s queue is empty when the clock is read. One call before is not measured.
CADDIE_API std::vector<double> time_calls(const at::Device& device, int repeats, const std::function<void()>& call);
// Waits until the device has done what was asked of it.
CADDIE_API void synchronize(const at::Device& device);
// Since this process was started, by the kernel's books (10 ms resolution).
CADDIE_API double seconds_since_process_start();

// {"<name>_median", "<name>_low", "<name>_high", "samples"} of seconds, in `unit`s of them (1000: milliseconds).
CADDIE_API void add_spread(Json& to, const std::string& name, const std::vector<double>& seconds, double unit);

}  // namespace caddie::bench
