// The model: forward, gradients, greedy.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

#include "caddie/services.h"
#include "core/eval/generate.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"
#include "core/train/gradient_arena.h"

namespace caddie::parity {
namespace {

std::shared_ptr<Model> model_for_batch(CheckRun& run, const at::Tensor& tokens) {
  auto model = make_model(run, tokens.size(1));
  if (run.setting<bool>("fake_quant")) fake_quantize(run, *model);
  return model;
}

}  // namespace

void check_forward(CheckRun& run) {
  const at::NoGradGuard no_gradients;
  const auto tokens = run.tokens("tokens"), targets = run.tokens("targets");
  const auto model = model_for_batch(run, tokens);
  const auto outputs = model->trace(tokens);
  for (std::size_t i = 0; i + 1 < outputs.size(); ++i) run.give("block_" + std::to_string(i), outputs[i]);
  run.give("logits", outputs.back());
  run.give("token_loss", model->nats(tokens, targets, 0));
  run.give("mean_loss", Json(model->loss(tokens, targets).item<double>()));
}

void check_gradients(CheckRun& run) {
  const auto tokens = run.tokens("tokens"), targets = run.tokens("targets");
  const auto model = model_for_batch(run, tokens);
  const auto& parameters = model->parameters();
  train::GradientArena gradients(parameters);
  gradients.zero();
  model->loss(tokens, targets).backward();
  gradients.check_attached();
  for (std::size_t i = 0; i < parameters.size(); ++i) run.give(parameters[i].name, gradients.gradient(i));
}

void check_greedy(CheckRun& run) {
  const auto prompts = run.tokens("prompts");
  const auto count = run.setting<std::int64_t>("new_tokens");
  const auto model = make_model(run, prompts.size(1) + count);
  std::vector<at::Tensor> margins;
  at::Tensor last_logits;
  Random random(0, "greedy");  // not read at temperature 0
  const auto tokens = eval::generate(*model, prompts, count, Sampling{0.0, 0}, random,
                                     [&](std::int64_t, const at::Tensor& logits, const at::Tensor&) {
                                       const auto best = std::get<0>(logits.topk(2, 1));
                                       margins.push_back(best.select(1, 0).sub(best.select(1, 1)));
                                       last_logits = logits.clone();
                                     });
  run.give("tokens", tokens);
  run.give("margin", at::stack(margins, 1));
  run.give("last_logits", last_logits);
}

}  // namespace caddie::parity
