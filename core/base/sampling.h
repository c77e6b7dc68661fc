// Picks tokens from logits. The random numbers come from a caddie::Random stream on the host, so that equal seeds give
// equal choices on every device; nothing here knows a model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "caddie/export.h"
#include "caddie/services.h"

namespace caddie {

struct Sampling {
  double temperature = 1.0;  // 0: the likeliest token (the first one on a tie)
  std::int64_t top_k = 0;    // only the k likeliest tokens; 0: all
};

// float64 [steps, batch] uniform in [0, 1) on the CPU, drawn step by step. Move it to the device once, use a row a
// step.
CADDIE_API at::Tensor uniforms(Random& random, std::int64_t steps, std::int64_t batch);

// One token a row by inversion: the first token whose cumulated probability exceeds uniform[b]. logits [B, V] floating,
// uniform float64 [B] on the same device (not read at temperature 0, may be undefined then); returns int64 [B].
// Probabilities are float64.
CADDIE_API at::Tensor pick_tokens(const at::Tensor& logits, const at::Tensor& uniform, const Sampling& sampling);

}  // namespace caddie
