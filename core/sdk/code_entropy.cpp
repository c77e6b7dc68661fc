// Expected entropies by integration over the normal distribution and over the distribution of a row's maximum.
#include "caddie/code_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace caddie {
namespace {

double upper_tail(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }  // P(N > x)

// Standard deviations of columns with their shares: one, or a log-normal distribution on a grid.
struct Spread {
  std::vector<double> deviations, shares;

  explicit Spread(double variation) {
    const double sigma = std::sqrt(std::log1p(variation * variation));
    const int points = variation > 0 ? 33 : 1;
    double total = 0;
    for (int i = 0; i < points; ++i) {
      const double z = points > 1 ? -4 + 8.0 * i / (points - 1) : 0;
      deviations.push_back(std::exp(sigma * z));
      shares.push_back(std::exp(-0.5 * z * z));
      total += shares.back();
    }
    for (auto& share : shares) share /= total;
  }

  // P(x > value), x = deviation times N.
  double tail(double value) const {
    double sum = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) sum += shares[i] * upper_tail(value / deviations[i]);
    return sum;
  }
};

// The magnitude that all of n numbers stay below with probability p.
double row_maximum(const Spread& spread, double n, double p) {
  const double tail = -std::expm1(std::log(p) / n);  // P(|x| > m) = 1 - p^(1/n)
  double low = 0, high = 100;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (2 * spread.tail(middle) > tail ? low : high) = middle;
  }
  return low;
}

// Measured on the reference's trained tensors: 84,992 bytes of float16 steps compress to 50,883.
constexpr double kStepBits = 9.6;
// Of trained matrices that are wider than high: 0.13 to 0.35 were seen.
constexpr double kWideSpread = 0.22;

}  // namespace

double absmax_code_bits(int bits, std::int64_t columns, double column_spread) {
  const int top = (1 << (bits - 1)) - 1;
  const double n = static_cast<double>(std::max<std::int64_t>(columns, 1));
  const Spread spread(column_spread);
  std::vector<double> share(static_cast<std::size_t>(2 * top + 1), 0.0);
  constexpr int kRows = 16;  // quantiles of the row's maximum
  for (int row = 0; row < kRows; ++row) {
    const double maximum = row_maximum(spread, n, (row + 0.5) / kRows);
    // The other n - 1 elements are below the maximum; one element has the code +-top.
    const double step = maximum / top, inside = 1 - 2 * spread.tail(maximum);
    double above = spread.tail(-maximum);
    for (int code = -top; code <= top; ++code) {
      const double next = spread.tail(std::min((code + 0.5) * step, maximum));
      double p = (above - next) / inside * (n - 1) / n;
      if (std::abs(code) == top) p += 0.5 / n;
      share[static_cast<std::size_t>(code + top)] += p / kRows;
      above = next;
    }
  }
  double entropy = 0;
  for (const double p : share)
    if (p > 0) entropy -= p * std::log2(p);
  return entropy;
}

double gaussian_code_bits(int bits, double step) {
  const int top = (1 << (bits - 1)) - 1;
  double entropy = 0;
  for (int code = -top; code <= top; ++code) {
    const double above = code == -top ? 1 : upper_tail((code - 0.5) * step);
    const double below = code == top ? 0 : upper_tail((code + 0.5) * step);
    if (above > below) entropy -= (above - below) * std::log2(above - below);
  }
  return entropy;
}

ExpectedSize expected_codes(double bits_a_code, std::int64_t rows, std::int64_t columns, std::int64_t steps) {
  const double elements = static_cast<double>(rows) * static_cast<double>(columns), count = static_cast<double>(steps);
  return {elements + 2 * count, (elements * bits_a_code + count * kStepBits) / 8};
}

ExpectedSize expected_row_codes(int bits, std::int64_t rows, std::int64_t columns) {
  return expected_codes(absmax_code_bits(bits, columns, rows < columns ? kWideSpread : 0), rows, columns, rows);
}

ExpectedSize expected_floats(int bytes_an_element, bool bfloat16, std::int64_t elements) {
  const double n = static_cast<double>(elements);
  const double bits = bytes_an_element == 4 ? 25.8 : bfloat16 ? 10.4 : 13.4;
  return {n * bytes_an_element, n * bits / 8};
}

}  // namespace caddie
