// Drawings with one row a name: stacked bars, intervals.
#include <algorithm>
#include <cmath>

#include "registry/report/markup.h"
#include "registry/report/plot.h"
#include "registry/report/svg.h"

namespace caddie::registry::report {
namespace {

constexpr double kRow = 24, kNameWidth = 142, kNoteWidth = 92;

Frame rows_frame(std::size_t rows, double extra_top) {
  const double top = 8 + extra_top, bottom = top + kRow * static_cast<double>(rows) + 4;
  return {kWidth, bottom + 46, kNameWidth, top, kWidth - kNoteWidth, bottom};
}

std::string row_name(const std::string& label, double y) {
  return "<text class=\"rowname\" x=\"" + place(kNameWidth - 8) + "\" y=\"" + place(y + 4.5) +
         "\" text-anchor=\"end\"><title>" + text(label) + "</title>" + text(shortened(label, kLabelCharacters)) +
         "</text>";
}

std::string row_note(const std::string& note, double x, double y) {
  return note.empty()
             ? ""
             : "<text class=\"tick\" x=\"" + place(x) + "\" y=\"" + place(y + 4.5) + "\">" + text(note) + "</text>";
}

// Squares with names, in as many lines as it takes.
std::string legend(const BarPlot& plot, double& height) {
  const std::vector<std::string>& parts = plot.parts;
  std::string out;
  double x = 8, y = 12;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (std::none_of(plot.rows.begin(), plot.rows.end(),
                     [&](const BarRow& row) { return i < row.values.size() && row.values[i] > 0; }))
      continue;
    const double width = 30 + 8.2 * static_cast<double>(parts[i].size());
    if (x + width > kWidth) {
      x = 8;
      y += 18;
    }
    out += "<rect class=\"part " + color_class(static_cast<int>(i)) + "\" x=\"" + place(x) + "\" y=\"" + place(y - 9) +
           "\" width=\"11\" height=\"11\"/><text class=\"tick\" x=\"" + place(x + 15) + "\" y=\"" + place(y + 1) +
           "\">" + text(parts[i]) + "</text>\n";
    x += width;
  }
  height = y + 8;
  return out;
}

double total(const BarRow& row) {
  double sum = 0;
  for (const double value : row.values) sum += std::isfinite(value) && value > 0 ? value : 0;
  return sum;
}

}  // namespace

std::string draw(const BarPlot& plot) {
  double most = 0;
  for (const BarRow& row : plot.rows) most = std::max(most, total(row));
  if (most <= 0) return {};
  double legend_height = 0;
  const std::string names = plot.parts.size() > 1 ? legend(plot, legend_height) : std::string();
  const Frame frame = rows_frame(plot.rows.size(), legend_height);
  const Scale x(0, most, false, frame.left, frame.right, 5);
  std::string out = open_svg(plot.title, frame) + names + x_axis(frame, x, plot.unit);
  for (std::size_t i = 0; i < plot.rows.size(); ++i) {
    const BarRow& row = plot.rows[i];
    const double y = frame.top + kRow * (static_cast<double>(i) + 0.5) + 2;
    out += row_name(row.label, y);
    double from = 0;
    for (std::size_t part = 0; part < row.values.size(); ++part) {
      const double value = row.values[part];
      if (!std::isfinite(value) || value <= 0) continue;
      const double left = x(from), width = x(from + value) - left;
      if (width > 0.05) {
        const std::string name = part < plot.parts.size() ? plot.parts[part] : std::string();
        out += "<rect class=\"part " + color_class(static_cast<int>(part)) + "\" x=\"" + place(left) + "\" y=\"" +
               place(y - 8) + "\" width=\"" + place(std::max(width, 0.4)) + "\" height=\"16\"><title>" +
               text(row.label + ": " + name + " " + fixed(value, value < 10 ? 3 : 1)) + "</title></rect>";
      }
      from += value;
    }
    out += row_note(row.note, x(from) + 5, y) + "\n";
  }
  return out + "</svg>\n";
}

std::string draw(const IntervalPlot& plot) {
  Range range;
  std::vector<IntervalRow> rows;
  for (const IntervalRow& row : plot.rows) {
    if (!std::isfinite(row.middle)) continue;
    rows.push_back(row);
    range.take(row.middle);
    if (row.low && std::isfinite(*row.low)) range.take(*row.low);
    if (row.high && std::isfinite(*row.high)) range.take(*row.high);
  }
  if (rows.empty()) return {};
  range.take(0);
  const Frame frame = rows_frame(rows.size(), 0);
  const Scale x(range.low, range.high, false, frame.left, frame.right, 5);
  std::string out = open_svg(plot.title, frame) + x_axis(frame, x, plot.x.label);
  out += "<path class=\"zero\" d=\"M" + place(x(0)) + " " + place(frame.top) + "V" + place(frame.bottom) + "\"/>\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const IntervalRow& row = rows[i];
    const double y = frame.top + kRow * (static_cast<double>(i) + 0.5) + 2;
    out += row_name(row.label, y) + "<g class=\"curve " + color_class(row.color) + "\"><title>" +
           text(row.label + ": " + signed_fixed(row.middle, 4)) + "</title>";
    if (row.low && row.high && std::isfinite(*row.low) && std::isfinite(*row.high)) {
      const std::string left = place(x(*row.low)), right = place(x(*row.high));
      out += "<path class=\"line\" d=\"M" + left + " " + place(y) + "H" + right + "M" + left + " " + place(y - 4) +
             "V" + place(y + 4) + "M" + right + " " + place(y - 4) + "V" + place(y + 4) + "\"/>";
    }
    out += "<circle cx=\"" + place(x(row.middle)) + "\" cy=\"" + place(y) + "\" r=\"4.5\"/></g>" +
           row_note(row.note, frame.right + 8, y) + "\n";
  }
  return out + "</svg>\n";
}

}  // namespace caddie::registry::report
