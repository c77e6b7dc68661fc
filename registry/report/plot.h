// Drawings as inline SVG: curves, points, stacked bars and intervals, with axes, units, labels at the data. Colours are
// classes that the page's style sheet defines for a bright, a dark and a printed page; nothing refers to another file.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "caddie/export.h"

namespace caddie::registry::report {

struct Axis {
  std::string label;  // with its unit
  bool logarithmic = false;
  bool whole = false;  // ticks at whole numbers only
};

struct Curve {
  std::string label;
  std::vector<std::pair<double, double>> points;  // by x; those that are not finite are left out
  int color = 0;                                  // of the palette; beyond it with dashes
  bool dots = false;                              // marks at the points
  std::string hint = {};                          // a tooltip; empty: the label
};
struct CurvePlot {
  std::string title;  // for readers that do not see it
  Axis x, y;
  std::vector<Curve> curves;
};

struct Dot {
  std::string label;
  double x = 0, y = 0;
  std::optional<double> low = {}, high = {};  // of y
  int color = 0;
  std::string hint = {};
};
struct DotPlot {
  std::string title;
  Axis x, y;
  std::vector<Dot> dots;
  std::vector<std::pair<double, double>> front;  // joined by steps
  std::optional<double> limit = {};              // a vertical line, if it is near the dots
  std::string limit_label = {};
};

struct BarRow {
  std::string label;
  std::vector<double> values;  // one a part
  std::string note = {};       // behind the bar
};
struct BarPlot {
  std::string title;
  std::string unit;  // of the axis
  std::vector<std::string> parts;
  std::vector<BarRow> rows;
};

struct IntervalRow {
  std::string label;
  double middle = 0;
  std::optional<double> low = {}, high = {};
  int color = 0;
  std::string note = {};
};
struct IntervalPlot {
  std::string title;
  Axis x;
  std::vector<IntervalRow> rows;
};

// An empty text if there is nothing to draw.
CADDIE_API std::string draw(const CurvePlot& plot);
CADDIE_API std::string draw(const DotPlot& plot);
CADDIE_API std::string draw(const BarPlot& plot);
CADDIE_API std::string draw(const IntervalPlot& plot);

// At most `most` points: the means of neighbours.
CADDIE_API std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points,
                                                          std::size_t most);

}  // namespace caddie::registry::report
