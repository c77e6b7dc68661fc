// The gradient of every parameter against central differences of the loss. In float32 the difference has about four good
// digits at the best width, so several are tried; a wrong factor, sign or a lost path fits at none.
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "tests/conformance/model_fixture.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

constexpr double kTolerance = 0.02;
constexpr double kNoise = 3e-7;  // of a float32 loss: over the width, what a slope can be wrong by

// Slope of the loss along `direction` (unit length) from parameter `index`.
double slope(SmallModel& small, std::size_t index, const at::Tensor& direction, double width) {
  const at::NoGradGuard no_gradients;
  at::Tensor value = small.model->parameters()[index].tensor;
  const at::Tensor kept = value.clone();
  const auto loss_at = [&](double distance) {
    value.copy_(kept.add(direction, distance));
    small.model->prepare(false);
    return small.model->nats(small.inputs, small.targets, 0).to(at::kDouble).mean().item<double>();
  };
  const double right = loss_at(width), left = loss_at(-width);
  value.copy_(kept);
  small.model->prepare(false);
  return (right - left) / (2 * width);
}

// The smallest |difference - expected| over widths, as a share of what is expected.
double relative_error(SmallModel& small, std::size_t index, const at::Tensor& direction, double expected) {
  double best = 1e30;
  for (const double width : {0.3, 0.1, 0.03, 0.01, 0.003}) {
    const double noise = kNoise / width;
    if (noise > 0.2 * std::abs(expected)) continue;  // would prove nothing
    const double error = std::abs(slope(small, index, direction, width) - expected);
    best = std::min(best, std::max(0.0, error - noise) / std::abs(expected));
  }
  return best;
}

}  // namespace

TEST_CASE("model: gradients are those of the loss") {
  for (const std::string& name : components(PluginKind::model)) {
    SmallModel small(name);
    small.stir();
    small.model->loss(small.inputs, small.targets).backward();
    const auto& parameters = small.model->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      INFO(name << ": " << parameters[i].name);
      if (!parameters[i].tensor.grad().defined()) {  // says that the loss does not depend on it
        const at::Tensor noise = normal(parameters[i].tensor.sizes().vec(), "unused");
        CHECK(slope(small, i, noise, 0.1) == 0);
        continue;
      }
      const at::Tensor gradient = parameters[i].tensor.grad().detach().clone();
      REQUIRE(gradient.isfinite().all().item<bool>());
      const double length = gradient.to(at::kDouble).norm().item<double>();
      CHECK(length > 1e-5);  // every parameter of the stirred model matters
      CHECK(relative_error(small, i, gradient.div(length), length) < kTolerance);
      // Another direction, in which the slope is not the largest one: mostly the gradient's, partly noise.
      at::Tensor noise = normal(gradient.sizes().vec(), "direction of " + parameters[i].name);
      at::Tensor direction = gradient.div(length).add(noise.div(noise.norm()));
      direction = direction.div(direction.norm());
      const double expected = gradient.to(at::kDouble).mul(direction.to(at::kDouble)).sum().item<double>();
      CHECK(relative_error(small, i, direction, expected) < kTolerance);
    }
  }
}

TEST_CASE("model: gradients of two losses add up") {
  for (const std::string& name : components(PluginKind::model)) {
    SmallModel small(name);
    small.stir();
    const at::Tensor first = small.inputs.narrow(0, 0, 1), second = small.inputs.narrow(0, 1, 1);
    const at::Tensor of_first = small.targets.narrow(0, 0, 1), of_second = small.targets.narrow(0, 1, 1);
    small.model->loss(first, of_first).mul(0.5).backward();
    small.model->loss(second, of_second).mul(0.5).backward();
    std::vector<at::Tensor> sums;
    for (const Parameter& parameter : small.model->parameters()) {
      sums.push_back(parameter.tensor.grad());
      parameter.tensor.mutable_grad() = at::Tensor();
    }
    small.model->loss(small.inputs, small.targets).backward();
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const Parameter& parameter = small.model->parameters()[i];
      INFO(name << ": " << parameter.name);
      REQUIRE(sums[i].defined() == parameter.tensor.grad().defined());
      if (!sums[i].defined()) continue;
      const double scale = sums[i].abs().max().item<double>();
      CHECK(largest_difference(sums[i], parameter.tensor.grad()) <= 1e-4 * scale + 1e-8);
    }
  }
}
