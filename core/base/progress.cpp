#include "core/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "core/base/log.h"

namespace caddie {
namespace {
std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}
}  // namespace

Progress::Progress(std::string label) : label_(std::move(label)) {}

Progress::~Progress() {
  if (drawn_) log::set_status("");
}

void Progress::update(double fraction, const std::string& detail) {
  if (!log::fancy() || (drawn_ && since_draw_.seconds() < 0.1)) return;
  fraction = std::clamp(std::isfinite(fraction) ? fraction : 0.0, 0.0, 1.0);
  const double elapsed = total_.seconds();
  std::string tail = " " + std::to_string(static_cast<int>(fraction * 100)) + "% " + detail;
  if (fraction > 0.01) tail += "  " + human_seconds(elapsed / fraction - elapsed) + " left";
  const std::size_t columns = terminal_columns() - 1;
  const std::size_t used = label_.size() + tail.size() + 3;
  const std::size_t width = used + 8 < columns ? std::min<std::size_t>(columns - used, 30) : 0;
  std::string line = label_;
  if (width > 0) {
    const auto full = static_cast<std::size_t>(fraction * static_cast<double>(width));
    line += " ";
    for (std::size_t i = 0; i < width; ++i) line += i < full ? "█" : "░";
  } else if (line.size() + tail.size() > columns) {
    tail.resize(columns > line.size() ? columns - line.size() : 0);
  }
  log::set_status(line + tail);
  drawn_ = true;
  since_draw_.restart();
}

}  // namespace caddie
