#include "core/eval/paths.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "caddie/error.h"

namespace caddie::eval {
namespace {

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace

double PathReport::largest() const {
  double result = 0;
  for (const double value : {loss, nats, logits, generator}) {
    if (!(value <= result)) result = value;  // a NaN stays
    if (std::isnan(result)) break;
  }
  return result;
}

Json PathReport::to_json() const {
  return {{"path", path}, {"loss", loss}, {"nats", nats}, {"logits", logits}, {"generator", generator},
          {"largest", largest()}};
}

PathReport compare_paths(Model& model, const at::Tensor& tokens) {
  const at::NoGradGuard no_gradients;
  CADDIE_ASSERT(tokens.dim() == 2 && tokens.size(1) >= 3);
  const std::int64_t length = tokens.size(1) - 1, half = length / 2;
  const at::Tensor inputs = tokens.narrow(1, 0, length).to(at::kLong).contiguous();
  const at::Tensor targets = tokens.narrow(1, 1, length).to(at::kLong).contiguous();

  PathReport report;
  report.path = model.path();
  const at::Tensor nats = model.nats(inputs, targets, 0);
  at::Tensor loss;
  {
    const at::AutoGradMode with_gradients(true);  // the path that trains keeps what its backward pass needs
    loss = model.loss(inputs, targets).detach();
  }
  report.loss = std::abs(loss.item<double>() - nats.mean(at::kDouble).item<double>());
  report.nats = largest_difference(nats.narrow(1, half, length - half), model.nats(inputs, targets, half));

  const at::Tensor logits = model.logits(inputs).to(at::kDouble);
  const at::Tensor from_logits = logits.log_softmax(-1).gather(2, targets.unsqueeze(2)).squeeze(2).neg();
  report.logits = largest_difference(nats, from_logits);

  // The cache: the first half at once, then a token at a time.
  const auto generator = model.generator(tokens.size(0), length);
  at::Tensor last = generator->feed(inputs.narrow(1, 0, half));
  double worst = largest_difference(last, logits.select(1, half - 1));
  constexpr std::int64_t kSteps = 16;
  for (std::int64_t position = half; position < std::min(length, half + kSteps); ++position) {
    last = generator->feed(inputs.narrow(1, position, 1));
    worst = std::max(worst, largest_difference(last, logits.select(1, position)));
  }
  report.generator = worst / std::max(logits.abs().max().item<double>(), 1e-30);
  return report;
}

}  // namespace caddie::eval
