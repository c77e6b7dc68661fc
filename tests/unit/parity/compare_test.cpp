// Every rule of a tolerance lets the right value pass, and fails the wrong one.
#include "core/parity/compare.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <map>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::parity;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

// Compares `value` with `wanted` under `tolerance`.
Comparison against(const at::Tensor& wanted, const at::Tensor& value, const Json& tolerance) {
  return compare({{"tensor", "wanted"}, {"tolerance", tolerance}}, value, [&](std::string_view) { return wanted; });
}

// As above, of a sample with the given step; sums are those of `wanted` plus `shift`.
Comparison against_sample(const at::Tensor& wanted, const at::Tensor& value, const Json& tolerance, std::int64_t step,
                          double shift = 0, double squares_shift = 0) {
  const auto wide = wanted.to(at::kDouble);
  const auto part = wanted.flatten().slice(0, 0, wanted.numel(), step).contiguous();
  const Json expected = {{"sample", "part"},
                         {"shape", wanted.sizes().vec()},
                         {"step", step},
                         {"count", part.numel()},
                         {"sum", wide.sum().item<double>() + shift},
                         {"sum_squares", wide.square().sum().item<double>() + squares_shift},
                         {"tolerance", tolerance}};
  return compare(expected, value, [&](std::string_view) { return part; });
}

const Json kExact = {{"exact", true}};

at::Tensor floats(std::initializer_list<float> values) { return at::tensor(std::vector<float>(values)); }

}  // namespace

TEST_CASE("exact integers compare values, not widths") {
  const auto wanted = at::arange(6, at::kInt).reshape({2, 3});
  CHECK(against(wanted, at::arange(6, at::kLong).reshape({2, 3}), kExact).worst == 0);
  auto other = wanted.clone();
  other[1][2] = 7;
  const auto comparison = against(wanted, other, kExact);
  CHECK_FALSE(comparison.passed());
  CHECK(comparison.worst == 2);  // 1 + one element
  CHECK(comparison.detail == "1 of 6 elements differ");
  CHECK_FALSE(against(wanted, at::arange(6, at::kFloat).reshape({2, 3}), kExact).passed());
}

TEST_CASE("exact floats compare bits and types") {
  const auto wanted = floats({1.0F, 0.0F, -2.5F});
  CHECK(against(wanted, wanted.clone(), kExact).worst == 0);
  CHECK(against(wanted, floats({1.0F, -0.0F, -2.5F}), kExact).passed());
  CHECK_FALSE(against(wanted, floats({1.0F, 1e-45F, -2.5F}), kExact).passed());
  CHECK_FALSE(against(wanted, floats({1.0F, 0.0F, std::nextafter(-2.5F, 0.0F)}), kExact).passed());
  CHECK_FALSE(against(wanted, wanted.to(at::kDouble), kExact).passed());
  const auto half = wanted.to(at::kHalf);
  CHECK(against(half, half.clone(), kExact).passed());
  CHECK_FALSE(against(half, wanted, kExact).passed());
}

TEST_CASE("max and rms bound the largest and the mean error") {
  const auto wanted = at::zeros({100});
  auto value = at::zeros({100});
  value[17] = 0.5;
  CHECK(against(wanted, value, {{"max", 0.5}, {"rms", 0.06}}).worst == Approx(1.0));
  CHECK(against(wanted, value, {{"max", 1.0}, {"rms", 1.0}}).worst == Approx(0.5));
  CHECK_FALSE(against(wanted, value, {{"max", 0.49}, {"rms", 0.06}}).passed());
  CHECK_FALSE(against(wanted, value, {{"max", 0.5}, {"rms", 0.049}}).passed());  // rms is 0.05
  CHECK(against(wanted, value, {{"max", 0.5}}).passed());
}

TEST_CASE("a tolerance of 0 allows equality alone") {
  const auto wanted = at::full({3}, 2.0);
  CHECK(against(wanted, wanted.clone(), {{"max", 0}, {"rms", 0}}).worst == 0);
  CHECK(against(wanted, wanted.add(1e-6), {{"max", 0}, {"rms", 0}}).worst == kBroken);
}

TEST_CASE("shapes must agree") {
  const auto wanted = at::zeros({2, 3});
  CHECK(against(wanted, at::zeros({3, 2}), {{"max", 1}, {"rms", 1}}).worst == kBroken);
  CHECK(against(wanted, at::zeros({6}), {{"max", 1}, {"rms", 1}}).worst == kBroken);
  CHECK(against_sample(wanted, at::zeros({3, 2}), {{"max", 1}, {"rms", 1}}, 2).worst == kBroken);
  CHECK(against(at::zeros({0, 3}), at::zeros({0, 3}), {{"max", 0}, {"rms", 0}}).passed());
  CHECK(against(at::empty({0, 3}, at::kInt), at::empty({0, 3}, at::kLong), kExact).passed());
}

TEST_CASE("NaN and infinity fail whatever the tolerance") {
  const auto wanted = floats({0.0F, 1.0F});
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    CHECK_FALSE(against(wanted, floats({0.0F, bad}), {{"max", 1e30}, {"rms", 1e30}}).passed());
    CHECK_FALSE(against(wanted, floats({0.0F, bad}), kExact).passed());
    auto value = at::zeros({10});
    value[3] = bad;  // not among the sampled elements
    CHECK_FALSE(against_sample(at::zeros({10}), value, {{"max", 1e30}, {"rms", 1e30}}, 5).passed());
  }
  CHECK_FALSE(compare({{"value", 1.0}, {"tolerance", {{"max", 1e30}}}}, Json(kNan)).passed());
}

TEST_CASE("a sample compares its elements and the sums over all") {
  const auto wanted = at::arange(20, at::kFloat);
  const Json tolerance = {{"max", 0.1}, {"rms", 0.01}};
  CHECK(against_sample(wanted, wanted.clone(), tolerance, 7).passed());
  auto value = wanted.clone();
  value[14] = 14.2;
  CHECK_FALSE(against_sample(wanted, value, tolerance, 7).passed());
  value = wanted.clone();
  value[13] = 13.17;  // not sampled, within n r = 0.2
  CHECK(against_sample(wanted, value, tolerance, 7).passed());
  value[13] = 13.21;
  CHECK_FALSE(against_sample(wanted, value, tolerance, 7).passed());
  // The sum of squares has a bound of its own: n r (2.1 sqrt(sum_squares / n) + r).
  const double squares = wanted.to(at::kDouble).square().sum().item<double>();
  const double bound = 20 * 0.01 * (2.1 * std::sqrt(squares / 20) + 0.01);
  CHECK(against_sample(wanted, wanted.clone(), tolerance, 7, 0, bound * 0.9).passed());
  CHECK_FALSE(against_sample(wanted, wanted.clone(), tolerance, 7, 0, bound * 1.1).passed());
}

TEST_CASE("an exact sample of integers compares both sums") {
  const auto wanted = at::arange(20, at::kChar);
  CHECK(against_sample(wanted, wanted.clone(), kExact, 7).worst == 0);
  auto value = wanted.clone();
  value[13] = 12;  // not sampled
  CHECK_FALSE(against_sample(wanted, value, kExact, 7).passed());
  value[12] = 13;  // the sums are right again: a swap between the samples is out of reach
  CHECK(against_sample(wanted, value, kExact, 7).passed());
  CHECK_FALSE(against_sample(wanted, wanted.clone(), kExact, 7, 0, 1).passed());
}

TEST_CASE("differing_fraction bounds the share of other integers") {
  const auto wanted = at::zeros({100}, at::kChar);
  auto value = wanted.clone();
  value[1] = 100;
  value[50] = -1;
  CHECK(against(wanted, value, {{"differing_fraction", 0.02}}).worst == Approx(1.0));
  CHECK_FALSE(against(wanted, value, {{"differing_fraction", 0.019}}).passed());
  CHECK_FALSE(against(wanted, value.to(at::kFloat), {{"differing_fraction", 1.0}}).passed());
  CHECK(against(wanted, wanted.clone(), {{"differing_fraction", 0.0}}).passed());
}

TEST_CASE("single values") {
  const Json near = {{"value", 2.5}, {"tolerance", {{"max", 0.1}}}};
  CHECK(compare(near, Json(2.59)).worst == Approx(0.9));
  CHECK_FALSE(compare(near, Json(2.61)).passed());
  CHECK_FALSE(compare(near, Json("2.5")).passed());
  const Json exact = {{"value", 7}, {"tolerance", kExact}};
  CHECK(compare(exact, Json(7)).passed());
  CHECK(compare(exact, Json(7.0)).passed());
  CHECK_FALSE(compare(exact, Json(8)).passed());
  const Json none = {{"value", nullptr}, {"tolerance", kExact}};
  CHECK(compare(none, Json(nullptr)).passed());
  CHECK_FALSE(compare(none, Json(0)).passed());
  const Json object = {{"value", {{"accepted", true}, {"tokens", 3}}}, {"tolerance", kExact}};
  CHECK(compare(object, Json({{"tokens", 3}, {"accepted", true}})).passed());
  CHECK_FALSE(compare(object, Json({{"tokens", 4}, {"accepted", true}})).passed());
  CHECK_FALSE(compare({{"tensor", "x"}, {"tolerance", kExact}}, Json(1)).passed());
  // A tensor of one element is a number.
  CHECK(compare(near, at::full({}, 2.55), {}).passed());
  CHECK_FALSE(compare(near, at::zeros({2}), {}).passed());
}

TEST_CASE("an unknown tolerance is the bundle's fault") {
  for (const Json& tolerance : {Json{{"maximum", 1}}, Json::object(), Json{{"max", -1}}, Json{{"exact", false}}})
    CHECK_THROWS_AS(against(at::zeros({1}), at::zeros({1}), tolerance), Error);
}
