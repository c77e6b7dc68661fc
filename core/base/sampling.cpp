#include "core/base/sampling.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/searchsorted.h>

#include <limits>
#include <tuple>

#include "caddie/error.h"

namespace caddie {

at::Tensor uniforms(Random& random, std::int64_t steps, std::int64_t batch) {
  at::Tensor result = at::empty({steps, batch}, at::kDouble);
  double* values = result.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < steps * batch; ++i) values[i] = random.uniform();
  return result;
}

at::Tensor pick_tokens(const at::Tensor& logits, const at::Tensor& uniform, const Sampling& sampling) {
  const at::NoGradGuard no_gradients;
  CADDIE_CHECK(sampling.temperature >= 0, ErrorKind::usage, "temperature is ", sampling.temperature,
               ", accepted: 0 (the likeliest token) and above");
  CADDIE_CHECK(sampling.top_k >= 0, ErrorKind::usage, "top-k is ", sampling.top_k,
               ", accepted: 0 (all tokens) and above");
  CADDIE_ASSERT(logits.dim() == 2);
  if (sampling.temperature == 0) {
    if (logits.is_cpu()) return logits.argmax(1);
    // Which of several largest ones argmax() finds is open on other devices.
    const auto count = logits.size(1);
    const auto numbers = at::arange(count, logits.options().dtype(at::kLong)).unsqueeze(0);
    return numbers.add(logits.lt(logits.amax(1, true)).to(at::kLong), count).amin(1).clamp_max(count - 1);
  }
  CADDIE_ASSERT(uniform.defined() && uniform.scalar_type() == at::kDouble && uniform.numel() == logits.size(0));

  at::Tensor scores = logits.to(at::kDouble);
  if (sampling.top_k > 0 && sampling.top_k < scores.size(1)) {
    const at::Tensor threshold = std::get<0>(scores.topk(sampling.top_k, 1)).select(1, -1).unsqueeze(1);
    scores = scores.masked_fill(scores.lt(threshold), -std::numeric_limits<double>::infinity());
  }
  // The maximum is subtracted before the division: a tiny temperature must not overflow.
  const at::Tensor weights = scores.sub(scores.amax(1, true)).div(sampling.temperature).exp();
  const at::Tensor cumulated = weights.cumsum(1);
  // Scaled by the last sum, and kept below it: rounding must not lead past the last possible token.
  const at::Tensor total = cumulated.select(1, -1).unsqueeze(1).mul(1 - 2 * std::numeric_limits<double>::epsilon());
  const at::Tensor level = uniform.reshape({-1, 1}).mul(total);
  return at::searchsorted(cumulated, level, /*out_int32=*/false, /*right=*/true).squeeze(1);
}

}  // namespace caddie
