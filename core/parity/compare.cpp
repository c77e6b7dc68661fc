#include "core/parity/compare.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "caddie/error.h"

namespace caddie::parity {
namespace {

Comparison broken(std::string detail) { return {kBroken, kBroken, 0, std::move(detail)}; }

// error / tolerance, where a tolerance of 0 allows nothing.
double ratio(double error, double tolerance) {
  if (!std::isfinite(error)) return kBroken;
  if (error == 0) return 0;
  return tolerance > 0 ? std::min(error / tolerance, kBroken) : kBroken;
}

Comparison held(double error, double tolerance) { return {ratio(error, tolerance), error, tolerance, {}}; }

void take_worse(Comparison& all, Comparison part) {
  if (part.worst > all.worst) all = std::move(part);
}

bool wants_exact(const Json& tolerance) { return tolerance.contains("exact") && tolerance["exact"] == true; }

double number(const Json& tolerance, const char* key) {
  CADDIE_CHECK(tolerance.contains(key) && tolerance[key].is_number() && tolerance[key].get<double>() >= 0,
               ErrorKind::data, "a tolerance is ", tolerance.dump(),
               ", accepted: exact, max, max and rms, differing_fraction");
  return tolerance[key].get<double>();
}

std::string text_of(at::IntArrayRef shape) { return concat(shape); }

// The same bits as integers. A zero has no sign here: integer codes, from which weights are decoded, have none either.
at::Tensor bits_of(const at::Tensor& value) {
  switch (value.scalar_type()) {
    case at::kDouble: return value.add(0.0).view(at::kLong);  // -0 + 0 = 0
    case at::kFloat: return value.add(0.0).view(at::kInt);
    case at::kHalf:
    case at::kBFloat16: return value.add(0.0).view(at::kShort);
    default: return value.to(at::kLong);
  }
}

// `x` and `y` have one shape; both contiguous on the CPU.
Comparison exactly(const at::Tensor& x, const at::Tensor& y) {
  if (x.is_floating_point() != y.is_floating_point() || (y.is_floating_point() && x.scalar_type() != y.scalar_type()))
    return broken(concat("is ", x.scalar_type(), ", expected ", y.scalar_type()));
  const auto differing = bits_of(x).ne(bits_of(y)).sum().item<std::int64_t>();
  if (differing == 0) return {};
  const double largest = x.to(at::kDouble).sub(y.to(at::kDouble)).abs().max().item<double>();
  return {std::min(1 + static_cast<double>(differing), kBroken), largest, 0,
          concat(differing, " of ", y.numel(), " elements differ")};
}

// Largest and root mean square error of two float64 arrays of one shape.
Comparison nearly(const at::Tensor& x, const at::Tensor& y, const Json& tolerance) {
  const double limit = number(tolerance, "max");
  if (x.numel() == 0) return {};
  const auto error = x.sub(y);
  Comparison result = held(error.abs().max().item<double>(), limit);
  if (tolerance.contains("rms")) {
    auto rms = held(std::sqrt(error.square().mean().item<double>()), number(tolerance, "rms"));
    rms.detail = "root mean square";
    take_worse(result, std::move(rms));
  }
  return result;
}

// The sums of a sampled array over all of its elements.
Comparison sums(const at::Tensor& whole, const Json& expected, const Json& tolerance) {
  const double sum = expected.at("sum").get<double>(), squares = expected.at("sum_squares").get<double>();
  const auto wide = whole.to(at::kDouble);
  const double sum_error = std::abs(wide.sum().item<double>() - sum);
  const double squares_error = std::abs(wide.square().sum().item<double>() - squares);
  const auto n = static_cast<double>(std::max<std::int64_t>(whole.numel(), 1));
  double sum_limit = 0, squares_limit = 0;
  if (!wants_exact(tolerance)) {
    const double rms = number(tolerance, "rms");
    sum_limit = n * rms;
    squares_limit = n * rms * (2.1 * std::sqrt(squares / n) + rms);
  } else if (whole.is_floating_point()) {
    sum_limit = 1e-12 * n * std::sqrt(squares / n);  // the order of a float64 summation
    squares_limit = 1e-12 * squares;
  }
  Comparison result = held(sum_error, sum_limit);
  result.detail = "sum over the whole array";
  Comparison second = held(squares_error, squares_limit);
  second.detail = "sum of squares over the whole array";
  take_worse(result, std::move(second));
  if (result.worst == 0) result.detail.clear();
  return result;
}

Comparison differing(const at::Tensor& x, const at::Tensor& y, double limit) {
  if (x.is_floating_point() || y.is_floating_point()) return broken("differing_fraction compares integers");
  const double share = y.numel() == 0 ? 0 : x.to(at::kLong).ne(y.to(at::kLong)).to(at::kDouble).mean().item<double>();
  return held(share, limit);
}

}  // namespace

Comparison compare(const Json& expected, const at::Tensor& value, const TensorLookup& tensors) {
  const at::NoGradGuard no_gradients;
  if (!value.defined()) return broken("nothing was computed");
  if (expected.contains("value")) {
    if (value.numel() != 1) return broken("is an array, expected a number");
    if (value.is_floating_point()) return compare(expected, Json(value.item<double>()));
    return compare(expected, Json(value.item<std::int64_t>()));
  }
  const Json& tolerance = expected.at("tolerance");
  const auto x = value.detach().cpu().contiguous();
  const bool sampled = expected.contains("sample");
  const auto y = tensors(expected.at(sampled ? "sample" : "tensor").get<std::string>()).contiguous();
  const auto shape = sampled ? expected.at("shape").get<std::vector<std::int64_t>>() : y.sizes().vec();
  if (x.sizes() != at::IntArrayRef(shape))
    return broken(concat("is ", text_of(x.sizes()), ", expected ", text_of(shape)));
  if (x.is_floating_point() && !x.isfinite().all().item<bool>()) return broken("holds a NaN or an infinity");

  const auto part =
      sampled ? x.flatten().slice(0, 0, x.numel(), expected.at("step").get<std::int64_t>()).contiguous() : x;
  if (part.sizes() != y.sizes())
    return broken(concat("the sample has ", part.numel(), " elements, expected ", y.numel()));
  Comparison result;
  if (wants_exact(tolerance)) {
    result = exactly(part, y);
  } else if (tolerance.contains("differing_fraction")) {
    return differing(part, y, number(tolerance, "differing_fraction"));
  } else {
    result = nearly(part.to(at::kDouble), y.to(at::kDouble), tolerance);
  }
  if (sampled) take_worse(result, sums(x, expected, tolerance));
  return result;
}

Comparison compare(const Json& expected, const Json& value) {
  const Json& tolerance = expected.at("tolerance");
  if (!expected.contains("value")) return broken("is a single value, expected an array");
  const Json& wanted = expected["value"];
  if (value.is_number() && !std::isfinite(value.get<double>())) return broken("is not a finite number");
  if (wants_exact(tolerance)) {
    if (value == wanted) return {};
    return {2, 0, 0, concat("is ", value.dump(), ", expected ", wanted.dump())};
  }
  const double limit = number(tolerance, "max");
  if (!wanted.is_number() || !value.is_number())
    return broken(concat("is ", value.dump(), ", expected ", wanted.dump()));
  return held(std::abs(value.get<double>() - wanted.get<double>()), limit);
}

}  // namespace caddie::parity
