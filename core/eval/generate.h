// Continuations from a model's generator (key/value cache): greedy or sampled, a batch at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "caddie/export.h"
#include "caddie/model.h"
#include "core/base/sampling.h"

namespace caddie::eval {

// Called after each choice: the logits [B, V] that it was made from and the tokens [B] chosen.
using GenerateStep = std::function<void(std::int64_t step, const at::Tensor& logits, const at::Tensor& tokens)>;

// `prompts` int64 [B, T] with T >= 1; returns int64 [B, new_tokens] on the model's device. prepare(false) was called.
// `random` is not read at temperature 0. Throws Error(interrupted) between two tokens.
CADDIE_API at::Tensor generate(Model& model, const at::Tensor& prompts, std::int64_t new_tokens,
                               const Sampling& sampling, Random& random, const GenerateStep& step = {});

}  // namespace caddie::eval
