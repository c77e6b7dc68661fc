#include "registry/report/scale.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace caddie::registry::report {
namespace {

// 1, 2, 2.5 or 5 times a power of ten, near width / count.
double round_step(double width, int count) {
  const double raw = width / count, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (raw <= factor * power * 1.0001) return factor * power;
  return 10 * power;
}

}  // namespace

Scale::Scale(double low, double high, bool logarithmic, double from, double to, int wanted_ticks, bool whole)
    : low_(low), high_(high), from_(from), to_(to), logarithmic_(logarithmic && low > 0) {
  if (!(high_ > low_)) {
    const double margin = low_ == 0 ? 1 : std::abs(low_) * 0.05;
    low_ -= margin;
    high_ += margin;
  }
  if (logarithmic_) {
    // 1, 2, 5 in each decade where there are few decades, else the decades.
    const double decades = std::log10(high_ / low_);
    const std::vector<double> factors = decades < 2.5 ? std::vector<double>{1, 2, 5} : std::vector<double>{1};
    const int skip = decades > wanted_ticks ? static_cast<int>(std::ceil(decades / wanted_ticks)) : 1;
    for (int power = static_cast<int>(std::floor(std::log10(low_))); power <= std::ceil(std::log10(high_));
         power += skip)
      for (const double factor : factors) {
        const double tick = factor * std::pow(10.0, power);
        if (tick >= low_ * 0.999 && tick <= high_ * 1.001) ticks_.push_back(tick);
      }
    return;
  }
  step_ = round_step(high_ - low_, wanted_ticks);
  if (whole) step_ = step_ < 1 ? 1 : step_ == 2.5 ? 5 : step_;
  low_ = std::floor(low_ / step_ + 1e-9) * step_;
  high_ = std::ceil(high_ / step_ - 1e-9) * step_;
  const auto count = static_cast<int>(std::lround((high_ - low_) / step_));
  for (int i = 0; i <= count; ++i) ticks_.push_back(low_ + i * step_);
}

double Scale::operator()(double value) const {
  const double share = logarithmic_ ? std::log(std::max(value, low_ * 1e-3) / low_) / std::log(high_ / low_)
                                    : (value - low_) / (high_ - low_);
  return from_ + std::clamp(share, -0.02, 1.02) * (to_ - from_);
}

std::string Scale::tick_text(double tick) const {
  char digits[48];
  if (std::abs(tick) < step_ * 1e-6 && !logarithmic_) return "0";
  if (logarithmic_ || std::abs(tick) >= 1e6) {
    std::snprintf(digits, sizeof digits, "%.4g", tick);
    return digits;
  }
  int decimals = 0;
  for (double step = step_; decimals < 8 && std::abs(step - std::round(step)) > 1e-6 * step; step *= 10) ++decimals;
  std::snprintf(digits, sizeof digits, "%.*f", decimals, tick);
  return digits;
}

std::string place(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.1f", std::isfinite(value) ? value : 0.0);
  std::string result = digits;
  if (result.ends_with(".0")) result.resize(result.size() - 2);
  return result == "-0" ? "0" : result;
}

std::vector<double> spread(std::vector<double> wanted, double gap, double low, double high) {
  double floor = low;
  for (double& at : wanted) {
    at = std::max(at, floor);
    floor = at + gap;
  }
  double ceiling = high;
  for (auto at = wanted.rbegin(); at != wanted.rend(); ++at) {
    *at = std::min(*at, ceiling);
    ceiling = *at - gap;
  }
  return wanted;
}

}  // namespace caddie::registry::report
