// The kernels' ops against the oracles, on the device that this program was built for: emulated threads, or a GPU.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>

#include "caddie/ops.h"
#include "caddie/services.h"
#include "core/ops/composed.h"
#include "core/ops/cuda/fused.h"
#include "tests/support/catch.h"

namespace caddie::simt_test {

#ifdef CADDIE_TEST_EMULATED
namespace subject = caddie::ops::cuda;
inline at::Device device() { return at::kCPU; }
inline bool skip() { return false; }
#else
namespace subject = caddie::ops;
inline at::Device device() { return at::Device(at::kCUDA, 0); }
inline bool skip() {
  if (at::detail::getCUDAHooks().hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0) return false;
  std::cout << "skipped: there is no CUDA device\n";
  return true;
}
#endif

struct Oracle {
  Oracle() { ops::use_oracles(true); }
  ~Oracle() { ops::use_oracles(false); }
};

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed, "simt test") {}
  at::Tensor normal(std::vector<std::int64_t> shape, double scale = 1, double shift = 0) {
    auto values = at::empty(shape, at::kFloat);
    auto* data = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(shift + scale * random_.normal());
    return values.to(device());
  }
  at::Tensor leaf(std::vector<std::int64_t> shape, double scale = 1, double shift = 0) {
    return normal(std::move(shape), scale, shift).set_requires_grad(true);
  }
  at::Tensor below(std::int64_t count, std::int64_t bound) {
    auto values = at::empty({count}, at::kLong);
    for (std::int64_t i = 0; i < count; ++i)
      values.mutable_data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(bound)));
    return values.to(device());
  }

 private:
  caddie::Random random_;
};

// |got - expected| / |expected|, and no less strict for what is nearly zero than for 0.02.
inline double relative(const at::Tensor& got, const at::Tensor& expected) {
  REQUIRE(got.sizes() == expected.sizes());
  REQUIRE(got.scalar_type() == expected.scalar_type());
  const auto wide = expected.detach().to(at::kDouble);
  const double difference = got.detach().to(at::kDouble).sub(wide).abs().max().item<double>();
  REQUIRE(std::isfinite(difference));
  return difference / std::max(wide.abs().max().item<double>(), 0.02);
}

using Op = std::function<at::Tensor()>;

inline std::vector<at::Tensor> value_and_gradients(const Op& op, const std::vector<at::Tensor>& leaves) {
  const auto value = op();
  if (leaves.empty()) return {value};
  const auto weights = Draw(99).normal(value.sizes().vec()).to(value.scalar_type());
  auto results = torch::autograd::grad({value}, leaves, {weights}, std::nullopt, false, /*allow_unused=*/true);
  results.insert(results.begin(), value);
  return results;
}

// Value and gradients of a random projection: the kernels' and the oracle's. Without leaves: values, no gradients.
inline void compare(const Op& op, const Op& oracle, const std::vector<at::Tensor>& leaves, double tolerance) {
  if (leaves.empty()) {
    const at::NoGradGuard guard;
    const auto value = op();
    const Oracle on;
    CHECK(relative(value, oracle()) < tolerance);
    return;
  }
  const auto fast = value_and_gradients(op, leaves);
  std::vector<at::Tensor> expected;
  {
    const Oracle on;
    expected = value_and_gradients(oracle, leaves);
  }
  for (std::size_t i = 0; i < fast.size(); ++i) {
    INFO("result " << i << " (0: value, then gradients)");
    REQUIRE(fast[i].defined() == expected[i].defined());
    if (fast[i].defined()) CHECK(relative(fast[i], expected[i]) < tolerance);
  }
  const at::NoGradGuard no_grad;
  CHECK(relative(op(), fast[0]) < tolerance);
}

// float32: sums in another order. bfloat16: 2^-9 for each value that is rounded on the way, in other places than the oracle
// does; sums of a few rows that cancel show up to ten times that.
inline double tolerance_of(at::ScalarType type) { return type == at::kFloat ? 2e-5 : 0.04; }

}  // namespace caddie::simt_test
