#include "core/eval/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "caddie/error.h"
#include "core/base/interrupt.h"
#include "core/eval/score.h"

namespace caddie::eval {

at::Tensor generate(Model& model, const at::Tensor& prompts, std::int64_t new_tokens, const Sampling& sampling,
                    Random& random, const GenerateStep& step) {
  const at::NoGradGuard no_gradients;
  CADDIE_CHECK(prompts.dim() == 2 && prompts.size(0) >= 1 && prompts.size(1) >= 1, ErrorKind::usage,
               "there is nothing to continue: a prompt needs at least one token");
  CADDIE_CHECK(new_tokens >= 0, ErrorKind::usage, new_tokens, " new tokens; accepted: 0 and above");
  const at::Device device = device_of(model);
  const std::int64_t batch = prompts.size(0);
  at::Tensor result = at::empty({batch, new_tokens}, at::TensorOptions(at::kLong).device(device));
  if (new_tokens == 0) return result;

  at::Tensor levels;
  if (sampling.temperature != 0) levels = uniforms(random, new_tokens, batch).to(device);
  const auto generator = model.generator(batch, prompts.size(1) + new_tokens);
  at::Tensor logits = generator->feed(prompts.to(device, at::kLong));
  for (std::int64_t index = 0; index < new_tokens; ++index) {
    throw_if_interrupted();
    const at::Tensor tokens = pick_tokens(logits, levels.defined() ? levels.select(0, index) : at::Tensor(), sampling);
    result.select(1, index).copy_(tokens);
    if (step) step(index, logits, tokens);
    if (index + 1 < new_tokens) logits = generator->feed(tokens.unsqueeze(1));
  }
  return result;
}

}  // namespace caddie::eval
