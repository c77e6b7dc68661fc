// Tables of the rotation, made once a model. The three kinds are the ones that the reference system can be trained with
// (reference section 2): frequencies, positions and angles in float32, or partly rounded to bfloat16.
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>

#include "caddie/error.h"
#include "caddie/ops.h"

namespace caddie::ops {
namespace {
at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); }
}  // namespace

std::pair<at::Tensor, at::Tensor> rope_tables(std::int64_t length, std::int64_t head, double base, RopeTables kind) {
  CADDIE_CHECK(head > 0 && head % 2 == 0, ErrorKind::usage, "a rotated head needs an even size, not ", head);
  // The frequencies in the order of operations of the reference: one unit in the last place here grows with the position.
  auto frequencies = at::pow(base, at::arange(0, head, 2, at::kFloat).div(static_cast<double>(head))).reciprocal();
  auto positions = at::arange(length, at::kFloat);
  if (kind != RopeTables::float32) frequencies = rounded(frequencies);
  if (kind == RopeTables::bf16_eager) positions = rounded(positions);
  auto angles = positions.unsqueeze(1).mul(frequencies);  // [length, h/2]
  if (kind == RopeTables::bf16_eager) angles = rounded(angles);
  auto cos = angles.cos(), sin = angles.sin();
  if (kind != RopeTables::float32) return {rounded(cos), rounded(sin)};
  return {cos, sin};
}

}  // namespace caddie::ops
