// Whether a computed value is the expected one, by the rules of a bundle's tolerances:
//   {"exact": true}             equal, bit for bit for floats (but for a zero's sign); of a sample the elements, the
//   shape and both sums
//   {"max": a}                  abs(x - y) <= a
//   {"max": a, "rms": r}        and the root mean square of x - y <= r; of a sample also
//                               abs(sum x - sum) <= n r and abs(sum x^2 - sum_squares) <= n r (2.1 sqrt(sum_squares /
//                               n) + r)
//   {"differing_fraction": f}   at most that share of the integers differs
// x and y in float64. A NaN or an infinity fails, and so does another shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <string_view>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::parity {

// `worst` of an exact comparison that failed is 1 + the number of differing elements, of one that could not be made
// kBroken.
inline constexpr double kBroken = 1e9;

struct Comparison {
  double worst = 0;      // largest error / tolerance: at most 1 passes
  double error = 0;      // the largest error itself
  double tolerance = 0;  // what it was held against; 0: exact
  std::string detail;    // what failed, where it is more than a number
  bool passed() const { return worst <= 1; }
};

// Gives the tensors that `expected` names.
using TensorLookup = std::function<at::Tensor(std::string_view key)>;

// Throws Error(data) for a tolerance that is none of the above.
CADDIE_API Comparison compare(const Json& expected, const at::Tensor& value, const TensorLookup& tensors);
CADDIE_API Comparison compare(const Json& expected, const Json& value);

}  // namespace caddie::parity
