// Comparison of the fast ops with their oracles; for the tests of this folder.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "caddie/ops.h"
#include "caddie/services.h"
#include "core/ops/cpu/kernels.h"
#include "tests/support/catch.h"

namespace caddie::ops_test {

namespace ops = caddie::ops;


struct Oracle {
  Oracle() { ops::use_oracles(true); }
  ~Oracle() { ops::use_oracles(false); }
};

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed, "fused test") {}
  at::Tensor normal(std::vector<std::int64_t> shape, double scale = 1, double shift = 0) {
    auto values = at::empty(shape, at::kFloat);
    auto* data = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i) data[i] = static_cast<float>(shift + scale * random_.normal());
    return values;
  }
  at::Tensor leaf(std::vector<std::int64_t> shape, double scale = 1, double shift = 0) {
    return normal(std::move(shape), scale, shift).set_requires_grad(true);
  }
  at::Tensor below(std::int64_t count, std::int64_t bound) {
    auto values = at::empty({count}, at::kLong);
    for (std::int64_t i = 0; i < count; ++i) {
      values.mutable_data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(bound)));
    }
    return values;
  }

 private:
  caddie::Random random_;
};

// Largest difference, relative to the largest magnitude of what is expected (but not to mere rounding noise).
inline double relative(const at::Tensor& got, const at::Tensor& expected) {
  REQUIRE(got.sizes() == expected.sizes());
  REQUIRE(got.scalar_type() == expected.scalar_type());
  const auto wide = expected.detach().to(at::kDouble);
  const double difference = got.detach().to(at::kDouble).sub(wide).abs().max().item<double>();
  const double size = wide.abs().max().item<double>();
  REQUIRE(std::isfinite(difference));
  return difference / std::max(size, 0.02);
}

// The op's value and the gradients of a random projection of it, fast and by oracle. `exact`, if given, is the oracle in float32
// from the same rounded inputs: where sums cancel, an oracle in bfloat16 can be off by the tolerance itself. Then what is tested
// must be less than half as far from `exact` as that oracle is.
inline void compare(const std::function<at::Tensor()>& op, const std::vector<at::Tensor>& leaves, double tolerance,
                    const std::function<at::Tensor()>& exact = {}) {
  const auto type = op().scalar_type();
  const auto run = [&](const std::function<at::Tensor()>& computed) {
    const auto value = computed().to(type);
    const auto weights = Draw(99).normal(value.sizes().vec()).to(type);
    auto results = torch::autograd::grad({value}, leaves, {weights}, std::nullopt, false, /*allow_unused=*/true);
    results.insert(results.begin(), value);
    return results;
  };
  const auto fast = run(op);
  std::vector<at::Tensor> expected, truth;
  {
    const Oracle oracle;
    expected = run(op);
    if (exact) truth = run(exact);
  }
  for (std::size_t i = 0; i < fast.size(); ++i) {
    INFO("result " << i << " (0: value, then gradients)");
    REQUIRE(fast[i].defined() == expected[i].defined());
    if (!fast[i].defined()) continue;
    const double difference = relative(fast[i], expected[i]);
    if (difference >= tolerance && exact) CHECK(relative(fast[i], truth[i]) < 0.5 * relative(expected[i], truth[i]));
    else CHECK(difference < tolerance);
  }
  const at::NoGradGuard no_grad;
  CHECK(op().equal(fast[0]));
}

constexpr const char* kTables[] = {"generic", "avx2", "avx512", "avx512_bf16", "amx"};

// By every instruction set on one thread, and by the best one on three: rows then meet other threads' rows.
inline void with_every_kernel(const std::function<void()>& body) {
  const int threads = at::get_num_threads();
  for (const char* name : kTables) {
    if (!ops::cpu::choose_kernels(name)) continue;
    INFO("kernels: " << name);
    body();
  }
  ops::cpu::choose_kernels(nullptr);
  at::set_num_threads(3);
  INFO("three threads");
  body();
  at::set_num_threads(threads);
}

inline double tolerance_of(at::ScalarType type) { return type == at::kFloat ? 1e-5 : 0.03; }

}  // namespace caddie::ops_test
