// Time: a monotonic stopwatch, and UTC stamps for names and logs.
#pragma once

#include <chrono>
#include <string>

#include "caddie/export.h"

namespace caddie {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void restart() { start_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

CADDIE_API std::string utc_timestamp();  // "2026-11-24T06:03:13Z"
CADDIE_API std::string utc_compact();    // "20261124T060313Z", for folder names
// "1:02:03", "4:05", "12.3 s"
CADDIE_API std::string human_seconds(double seconds);

}  // namespace caddie
