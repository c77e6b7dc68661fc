#include "core/base/clock.h"

#include <cstdio>
#include <ctime>

namespace caddie {
namespace {
std::string stamp(const char* format) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, format, &parts);
  return text;
}
}  // namespace

std::string utc_timestamp() { return stamp("%Y-%m-%dT%H:%M:%SZ"); }
std::string utc_compact() { return stamp("%Y%m%dT%H%M%SZ"); }

std::string human_seconds(double seconds) {
  char text[48];
  if (!(seconds < 1e9)) return "?";
  if (seconds < 60) {
    std::snprintf(text, sizeof text, "%.1f s", seconds);
    return text;
  }
  const long whole = static_cast<long>(seconds + 0.5);
  if (whole < 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  return text;
}

}  // namespace caddie
