// What the drawings share: the frame, the axes, and the names of colours. Units are those of a drawing 560 wide that a
// page shows between 360 and 620 pixels wide.
#pragma once

#include <cmath>
#include <limits>
#include <string>

#include "registry/report/scale.h"

namespace caddie::registry::report {

constexpr double kWidth = 560, kLabelGap = 15.5;
constexpr std::size_t kLabelCharacters = 18;
constexpr int kColors = 8;

struct Frame {
  double width, height, left, top, right, bottom;
};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// Moves the left edge so that the ticks of `y` have room beside the axis' label.
void make_room(Frame& frame, const Scale& y);
// A frame with room for this many labels one below the other, at the right if `labels`.
Frame frame_for(int rows, bool labels);
std::string open_svg(const std::string& title, const Frame& frame);
// Grid, ticks and the axes' labels.
std::string axes(const Frame& frame, const Scale& x, const Scale& y, const std::string& x_label,
                 const std::string& y_label);
// Only what is below: ticks and grid along x.
std::string x_axis(const Frame& frame, const Scale& x, const std::string& label);
// "c3", or "c3 d1" with dashes where the palette is used up.
std::string color_class(int color);

}  // namespace caddie::registry::report
