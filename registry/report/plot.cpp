#include "registry/report/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "caddie/error.h"
#include "registry/report/markup.h"
#include "registry/report/scale.h"
#include "registry/report/svg.h"

namespace caddie::registry::report {
namespace {

using Points = std::vector<std::pair<double, double>>;

bool drawable(const std::pair<double, double>& point, const Axis& x, const Axis& y) {
  return std::isfinite(point.first) && std::isfinite(point.second) && (!x.logarithmic || point.first > 0) &&
         (!y.logarithmic || point.second > 0);
}

// The path of a curve; equal neighbours in place are drawn once.
std::string path_of(const Points& points, const Scale& x, const Scale& y) {
  std::string path, last;
  for (const auto& point : points) {
    const std::string at = place(x(point.first)) + " " + place(y(point.second));
    if (at == last) continue;
    path += (path.empty() ? "M" : "L") + at;
    last = at;
  }
  return path;
}

// Labels at the right end of curves, apart from each other, with a line to the end where they had to move.
std::string end_labels(const std::vector<Curve>& curves, const Scale& x, const Scale& y, const Frame& frame) {
  struct Label {
    const Curve* curve;
    double at_x, at_y;
  };
  std::vector<Label> labels;
  for (const Curve& curve : curves)
    if (!curve.points.empty() && !curve.label.empty())
      labels.push_back({&curve, x(curve.points.back().first), y(curve.points.back().second)});
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.at_y < b.at_y; });
  std::vector<double> wanted;
  for (const Label& label : labels) wanted.push_back(label.at_y);
  const std::vector<double> places = spread(wanted, kLabelGap, frame.top + 4, frame.bottom);
  std::string out;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string color = color_class(labels[i].curve->color);
    out += "<path class=\"lead\" d=\"M" + place(labels[i].at_x + 2) + " " + place(labels[i].at_y) + "L" +
           place(frame.right + 6) + " " + place(places[i]) + "\"/>";
    out += "<text class=\"name " + color + "\" x=\"" + place(frame.right + 9) + "\" y=\"" + place(places[i] + 4.5) +
           "\">" + text(shortened(labels[i].curve->label, kLabelCharacters)) + "</text>\n";
  }
  return out;
}

}  // namespace

std::string draw(const CurvePlot& plot) {
  std::vector<Curve> curves;
  Range xs, ys;
  for (const Curve& curve : plot.curves) {
    Curve kept = curve;
    std::erase_if(kept.points, [&](const auto& point) { return !drawable(point, plot.x, plot.y); });
    for (const auto& [x, y] : kept.points) {
      xs.take(x);
      ys.take(y);
    }
    if (!kept.points.empty()) curves.push_back(std::move(kept));
  }
  if (curves.empty()) return {};
  const auto names =
      std::count_if(curves.begin(), curves.end(), [](const Curve& curve) { return !curve.label.empty(); });
  Frame frame = frame_for(static_cast<int>(names), /*labels=*/true);
  const Scale y(ys.low, ys.high, plot.y.logarithmic, frame.bottom, frame.top, 6);
  make_room(frame, y);
  const Scale x(xs.low, xs.high, plot.x.logarithmic, frame.left, frame.right, 5, plot.x.whole);
  std::string out = open_svg(plot.title, frame) + axes(frame, x, y, plot.x.label, plot.y.label);
  for (const Curve& curve : curves) {
    out += "<g class=\"curve " + color_class(curve.color) + "\"><title>" +
           text(curve.hint.empty() ? curve.label : curve.hint) + "</title><path class=\"line\" d=\"" +
           path_of(curve.points, x, y) + "\"/>";
    if (curve.dots || curve.points.size() == 1)
      for (const auto& point : curve.points)
        out += "<circle cx=\"" + place(x(point.first)) + "\" cy=\"" + place(y(point.second)) + "\" r=\"3\"/>";
    out += "</g>\n";
  }
  return out + end_labels(curves, x, y, frame) + "</svg>\n";
}

namespace {

// Where a dot's label goes: right of it, or left where the right is full, and up or down until it covers no other.
class LabelPlaces {
 public:
  explicit LabelPlaces(const Frame& frame) : frame_(frame) {}
  void block(double x, double y) { boxes_.push_back({x - 5, y - 5, x + 5, y + 5}); }
  std::string put(const std::string& label, double x, double y, const std::string& color) {
    const std::string shown = shortened(label, kLabelCharacters);
    const double width = 7.2 * static_cast<double>(shown.size()) + 2;
    for (int ring = 0; ring < 12; ++ring)
      for (const double side : {1.0, -1.0})
        for (const double sign : {-1.0, 1.0}) {
          const double at_y = y + sign * ring * 7.0;
          const double at_x = side > 0 ? x + 9 : x - 9 - width;
          const Box box{at_x, at_y - 7, at_x + width, at_y + 7};
          if (box.left < 0 || box.right > frame_.width || box.top < 0 || box.bottom > frame_.bottom || taken(box))
            continue;
          boxes_.push_back(box);
          return (ring > 1 ? "<path class=\"lead\" d=\"M" + place(x) + " " + place(y) + "L" +
                                 place(side > 0 ? at_x - 2 : box.right + 2) + " " + place(at_y) + "\"/>"
                           : std::string()) +
                 "<text class=\"name " + color + "\" x=\"" + place(side > 0 ? at_x : box.right) + "\" y=\"" +
                 place(at_y + 4.5) + "\"" + (side > 0 ? "" : " text-anchor=\"end\"") + ">" + text(shown) + "</text>\n";
        }
    return {};  // no room: the tooltip says it
  }

 private:
  struct Box {
    double left, top, right, bottom;
  };
  bool taken(const Box& box) const {
    return std::any_of(boxes_.begin(), boxes_.end(), [&](const Box& other) {
      return box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom;
    });
  }
  const Frame& frame_;
  std::vector<Box> boxes_;
};

std::string front_path(const Points& front, const Scale& x, const Scale& y) {
  std::string path;
  double last_y = 0;
  for (const auto& [fx, fy] : front) {
    const double px = x(fx), py = y(fy);
    if (path.empty()) path = "M" + place(px) + " " + place(py);
    else path += "L" + place(px) + " " + place(last_y) + "L" + place(px) + " " + place(py);
    last_y = py;
  }
  return path.empty() ? path : "<path class=\"front\" d=\"" + path + "\"/>\n";
}

}  // namespace

std::string draw(const DotPlot& plot) {
  Range xs, ys;
  std::vector<Dot> dots;
  for (const Dot& dot : plot.dots) {
    if (!drawable({dot.x, dot.y}, plot.x, plot.y)) continue;
    xs.take(dot.x);
    ys.take(dot.y);
    if (dot.low && std::isfinite(*dot.low)) ys.take(*dot.low);
    if (dot.high && std::isfinite(*dot.high)) ys.take(*dot.high);
    dots.push_back(dot);
  }
  if (dots.empty()) return {};
  const bool limit = plot.limit && *plot.limit > xs.low * 0.3 && *plot.limit < xs.high * 1.6;
  if (limit) xs.take(*plot.limit);
  Frame frame = frame_for(0, /*labels=*/false);
  const Scale y(ys.low, ys.high, plot.y.logarithmic, frame.bottom, frame.top, 6);
  make_room(frame, y);
  const double margin = std::max((xs.high - xs.low) * 0.08, std::abs(xs.high) * 0.01);
  const Scale x(xs.low - margin, xs.high + margin, plot.x.logarithmic, frame.left, frame.right, 5);
  std::string out = open_svg(plot.title, frame) + axes(frame, x, y, plot.x.label, plot.y.label);
  if (limit) {
    const std::string at = place(x(*plot.limit));
    out += "<path class=\"limit\" d=\"M" + at + " " + place(frame.top) + "V" + place(frame.bottom) +
           "\"/><text class=\"tick\" x=\"" + place(x(*plot.limit) - 4) + "\" y=\"" + place(frame.bottom - 8) +
           "\" text-anchor=\"end\">" + text(plot.limit_label) + "</text>\n";
  }
  out += front_path(plot.front, x, y);
  LabelPlaces places(frame);
  for (const Dot& dot : dots) places.block(x(dot.x), y(dot.y));
  std::string labels;
  for (const Dot& dot : dots) {
    const std::string px = place(x(dot.x)), color = color_class(dot.color);
    out += "<g class=\"curve " + color + "\"><title>" + text(dot.hint.empty() ? dot.label : dot.hint) + "</title>";
    if (dot.low && dot.high)
      out += "<path class=\"line\" d=\"M" + px + " " + place(y(*dot.low)) + "V" + place(y(*dot.high)) + "\"/>";
    out += "<circle cx=\"" + px + "\" cy=\"" + place(y(dot.y)) + "\" r=\"4.5\"/></g>\n";
    labels += places.put(dot.label, x(dot.x), y(dot.y), color);
  }
  return out + labels + "</svg>\n";
}

std::vector<std::pair<double, double>> thinned(const Points& points, std::size_t most) {
  CADDIE_CHECK(most >= 1, ErrorKind::usage, "a curve of ", most, " points");
  if (points.size() <= most) return points;
  Points out;
  for (std::size_t i = 0; i < most; ++i) {
    const std::size_t begin = i * points.size() / most, end = (i + 1) * points.size() / most;
    double x = 0, y = 0;
    for (std::size_t k = begin; k < end; ++k) {
      x += points[k].first;
      y += points[k].second;
    }
    const auto count = static_cast<double>(end - begin);
    out.emplace_back(x / count, y / count);
  }
  return out;
}

}  // namespace caddie::registry::report
