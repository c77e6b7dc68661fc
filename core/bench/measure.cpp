#include "core/bench/measure.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/interrupt.h"

namespace caddie::bench {

Spread spread(std::vector<double> samples) {
  CADDIE_CHECK(!samples.empty(), ErrorKind::failed, "nothing was measured");
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(samples.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, samples.size() - 1);
    return samples[below] + (place - std::floor(place)) * (samples[above] - samples[below]);
  };
  return {at(0.5), at(0.25), at(0.75)};
}

void synchronize(const at::Device& device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.has_index() ? device.index() : 0);
}

std::vector<double> time_calls(const at::Device& device, int repeats, const std::function<void()>& call) {
  call();
  synchronize(device);
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    if (interrupted()) throw Error(ErrorKind::interrupted, "the benchmark was stopped on request");
    const Stopwatch watch;
    call();
    synchronize(device);
    seconds.push_back(watch.seconds());
  }
  return seconds;
}

double seconds_since_process_start() {
  // Field 22 of stat, counted after the command's name, which may hold anything but ends with the last ')'.
  const std::string stat = read_text("/proc/self/stat");
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  const double started = std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return std::stod(read_text("/proc/uptime")) - started;
}

void add_spread(Json& to, const std::string& name, const std::vector<double>& seconds, double unit) {
  const Spread s = spread(seconds);
  to[name + "_median"] = s.median * unit;
  to[name + "_low"] = s.low * unit;
  to[name + "_high"] = s.high * unit;
  to["samples"] = seconds.size();
}

}  // namespace caddie::bench
