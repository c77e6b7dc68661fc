// Absmax quantization of rows, exact in IEEE float32: true divisions, round half to even (reference section 3). One
// rounding serves training (fake quantization, straight-through) and export (codes and steps).
#include <ATen/ops/full.h>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/ops/reference/reference.h"

namespace caddie::ops {
namespace {

struct Rounded {
  at::Tensor codes;  // float32, whole numbers, the shape of the weight
  at::Tensor steps;  // float32 [.., 1]
};

Rounded round_rows(const at::Tensor& weight, int bits) {
  CADDIE_CHECK(bits >= 2 && bits <= 8, ErrorKind::usage, "quantization to ", bits, " bits is not possible, accepted: 2 to 8");
  CADDIE_CHECK(weight.dim() >= 1 && weight.scalar_type() == at::kFloat, ErrorKind::failed,
               "row quantization takes float32 weights of at least one dimension, not ", weight.scalar_type());
  const double top = (1 << (bits - 1)) - 1;
  // A tensor, not a number: division by a number is a product with its reciprocal on some devices.
  const auto divisor = at::full({1}, top, weight.options());
  const auto steps = weight.abs().amax(-1, /*keepdim=*/true).clamp_min(1e-12).div(divisor);
  return {weight.div(steps).round().clamp(-top, top), steps};
}

}  // namespace

at::Tensor reference::fake_quantize_rows(const at::Tensor& weight, int bits) {
  const auto [codes, steps] = round_rows(weight.detach(), bits);
  return codes.mul(steps);
}

std::pair<at::Tensor, at::Tensor> quantize_rows(const at::Tensor& weight, int bits) {
  const auto [codes, steps] = round_rows(weight.detach(), bits);
  return {codes.to(at::kChar), steps.squeeze(-1)};
}

}  // namespace caddie::ops
