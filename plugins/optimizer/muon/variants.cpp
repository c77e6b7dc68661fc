#include "variants.h"

#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>

#include "caddie/error.h"

namespace caddie {
namespace {

// Polar Express (Amsel et al., 2025): for each step the polynomial that brings the worst singular value nearest to 1,
// made for five steps, singular values from 1e-3 and a safety margin of 2 %.
constexpr ops::NewtonSchulzStep kPolarExpress[] = {
    {8.156554524902461, -22.48329292557795, 15.878769915207462},
    {4.042929935166739, -2.808917465908714, 0.5000178451051316},
    {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
    {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
    {2.3465413258596377, -1.7097828382687081, 0.42323551169305323},
};
constexpr double kPolarExpressMargin = 1.02;

at::Tensor lengths(const at::Tensor& x, at::IntArrayRef over) {
  return at::linalg_vector_norm(x, 2, over, /*keepdim=*/true);
}

}  // namespace

NewtonSchulz newton_schulz_of(const Options& options) {
  const auto count = static_cast<std::size_t>(options.integer("newton_schulz_steps"));
  const auto& given = options.numbers("newton_schulz_coefficients");
  CADDIE_CHECK(given.size() == 3, ErrorKind::usage, "newton_schulz_coefficients has ", given.size(),
               " numbers; accepted: three, [a, b, c]");
  if (options.text("coefficients") != "polar_express")
    return {std::vector<ops::NewtonSchulzStep>(count, {given[0], given[1], given[2]}), 1};
  NewtonSchulz result{{}, kPolarExpressMargin};
  for (std::size_t step = 0; step < count; ++step)  // the last one again where there are more steps
    result.steps.push_back(kPolarExpress[std::min(step, std::size(kPolarExpress) - 1)]);
  return result;
}

RowNorm row_norm_of(const Options& options) {
  const auto& name = options.text("normalize_rows");
  return name == "momentum" ? RowNorm::momentum : name == "update" ? RowNorm::update : RowNorm::none;
}

void normalize_rows(at::Tensor& direction) { direction.div_(lengths(direction, {2}).clamp_min(1e-7)); }

at::Tensor scaled_by_row_moment(const at::Tensor& update, at::Tensor& moment, double beta2) {
  const auto wide = update.to(at::kFloat);
  moment.mul_(beta2).add_(wide.square().mean(2, /*keepdim=*/true), 1 - beta2);
  const auto alike = wide.div(moment.sqrt().add(1e-8));
  const auto scale = lengths(wide, {1, 2}).div(lengths(alike, {1, 2}).clamp_min(1e-12));
  return alike.mul(scale).to(update.scalar_type());
}

}  // namespace caddie
