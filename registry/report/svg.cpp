#include "registry/report/svg.h"

#include <algorithm>

#include "registry/report/markup.h"

namespace caddie::registry::report {

Frame frame_for(int rows, bool labels) {
  const double height = std::max(330.0, 80 + kLabelGap * rows);
  return {kWidth, height, 58, 14, labels ? kWidth - 146 : kWidth - 14, height - 46};
}

void make_room(Frame& frame, const Scale& y) {
  std::size_t longest = 1;
  for (const double tick : y.ticks()) longest = std::max(longest, y.tick_text(tick).size());
  frame.left = 28 + 8.6 * static_cast<double>(longest);
}

std::string open_svg(const std::string& title, const Frame& frame) {
  return "<svg viewBox=\"0 0 " + place(frame.width) + " " + place(frame.height) + "\" role=\"img\" aria-label=\"" +
         text(title) + "\">\n";
}

std::string x_axis(const Frame& frame, const Scale& x, const std::string& label) {
  std::string out;
  for (const double tick : x.ticks()) {
    const std::string at = place(x(tick)), number = x.tick_text(tick);
    // A number that would stand over the edge ends there.
    const bool over = x(tick) + 4.2 * static_cast<double>(number.size()) > frame.width;
    out += "<path class=\"grid\" d=\"M" + at + " " + place(frame.top) + "V" + place(frame.bottom) +
           "\"/><text class=\"tick\" x=\"" + (over ? place(frame.width) : at) + "\" y=\"" + place(frame.bottom + 17) +
           "\" text-anchor=\"" + (over ? "end" : "middle") + "\">" + number + "</text>\n";
  }
  return out + "<text class=\"axis\" x=\"" + place((frame.left + frame.right) / 2) + "\" y=\"" +
         place(frame.bottom + 38) + "\" text-anchor=\"middle\">" + text(label) + "</text>\n";
}

std::string axes(const Frame& frame, const Scale& x, const Scale& y, const std::string& x_label,
                 const std::string& y_label) {
  std::string out = x_axis(frame, x, x_label);
  for (const double tick : y.ticks()) {
    const std::string at = place(y(tick));
    out += "<path class=\"grid\" d=\"M" + place(frame.left) + " " + at + "H" + place(frame.right) +
           "\"/><text class=\"tick\" x=\"" + place(frame.left - 6) + "\" y=\"" + place(y(tick) + 4.5) +
           "\" text-anchor=\"end\">" + y.tick_text(tick) + "</text>\n";
  }
  const double middle = (frame.top + frame.bottom) / 2;
  return out + "<path class=\"base\" d=\"M" + place(frame.left) + " " + place(frame.top) + "V" + place(frame.bottom) +
         "H" + place(frame.right) + "\"/><text class=\"axis\" transform=\"translate(13 " + place(middle) +
         ") rotate(-90)\" text-anchor=\"middle\">" + text(y_label) + "</text>\n";
}

std::string color_class(int color) {
  const int index = color % kColors, dashes = color / kColors;
  return "c" + std::to_string(index) + (dashes > 0 ? " d" + std::to_string(std::min(dashes, 2)) : "");
}

}  // namespace caddie::registry::report
