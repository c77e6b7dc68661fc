// From numbers to places on the page: a linear or logarithmic axis with round ticks. Units are the SVG's.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie::registry::report {

class CADDIE_API Scale {
 public:
  // Covers [low, high] (widened to round ticks on a linear axis) with [from, to], which may run backwards.
  Scale(double low, double high, bool logarithmic, double from, double to, int wanted_ticks, bool whole = false);
  double operator()(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }
  std::string tick_text(double tick) const;
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  double low_, high_, from_, to_, step_ = 1;
  bool logarithmic_;
  std::vector<double> ticks_;
};

// "12.5", "-3": one decimal at most, for coordinates.
CADDIE_API std::string place(double value);

// Moves labels, given by their wanted places in ascending order, apart to at least `gap`, within [low, high].
CADDIE_API std::vector<double> spread(std::vector<double> wanted, double gap, double low, double high);

}  // namespace caddie::registry::report
