// Expected entropies by integration over the normal distribution and over the distribution of a row's maximum.
#include "caddie/code_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace caddie {
namespace {

double upper_tail(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }  // P(N > x)

// The magnitude that all of n normals stay below with probability p.
double row_maximum(double n, double p) {
  const double tail = -std::expm1(std::log(p) / n);  // P(|N| > m) = 1 - p^(1/n)
  double low = 0, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (low + high);
    (2 * upper_tail(middle) > tail ? low : high) = middle;
  }
  return low;
}

// Measured on the reference's trained tensors: 84,992 bytes of float16 steps compress to 50,883.
constexpr double kStepBits = 9.6;

}  // namespace

double absmax_code_bits(int bits, std::int64_t columns) {
  const int top = (1 << (bits - 1)) - 1;
  const double n = static_cast<double>(std::max<std::int64_t>(columns, 1));
  std::vector<double> share(static_cast<std::size_t>(2 * top + 1), 0.0);
  constexpr int kRows = 32;  // quantiles of the row's maximum
  for (int row = 0; row < kRows; ++row) {
    const double maximum = row_maximum(n, (row + 0.5) / kRows);
    // The other n - 1 elements are normals below the maximum; one element has the code +-top.
    const double step = maximum / top, inside = 1 - 2 * upper_tail(maximum);
    for (int code = -top; code <= top; ++code) {
      const double low = std::max((code - 0.5) * step, -maximum), high = std::min((code + 0.5) * step, maximum);
      double p = (upper_tail(low) - upper_tail(high)) / inside * (n - 1) / n;
      if (std::abs(code) == top) p += 0.5 / n;
      share[static_cast<std::size_t>(code + top)] += p / kRows;
    }
  }
  double entropy = 0;
  for (const double p : share)
    if (p > 0) entropy -= p * std::log2(p);
  return entropy;
}

ExpectedSize expected_row_codes(int bits, std::int64_t rows, std::int64_t columns) {
  const double elements = static_cast<double>(rows) * static_cast<double>(columns), steps = static_cast<double>(rows);
  return {elements + 2 * steps, (elements * absmax_code_bits(bits, columns) + steps * kStepBits) / 8};
}

ExpectedSize expected_floats(int bytes_an_element, bool bfloat16, std::int64_t elements) {
  const double n = static_cast<double>(elements);
  const double bits = bytes_an_element == 4 ? 25.8 : bfloat16 ? 10.4 : 13.4;
  return {n * bytes_an_element, n * bits / 8};
}

}  // namespace caddie
