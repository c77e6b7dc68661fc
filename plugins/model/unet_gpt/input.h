// From tokens to the stream that enters the first block: embedding (factored or not), an embedding of hashed token
// pairs (BigramHash), norm, and a part of the previous position's stream (SmearGate).
#pragma once

#include <ATen/core/Tensor.h>

#include "caddie/model.h"
#include "config.h"
#include "weights.h"

namespace unet_gpt {

// What a generator remembers of the last position that it was fed; undefined before the first.
struct InputPast {
  at::Tensor token;   // int64 [B, 1]
  at::Tensor stream;  // [B, 1, D], before smearing
};

// [B, T, D]. `past` may be null: the first position then has no predecessor; else it is read and brought up to date.
// `observer` may be null.
at::Tensor input_stream(const Config& config, const Weights& weights, const at::Tensor& tokens, InputPast* past,
                        caddie::LinearObserver* observer);

// Rows of the bigram table: (36313 t_i xor 27191 t_{i-1}) mod (buckets - 1); the last row where there is no
// predecessor. tokens int64 [B, T]; previous [B, 1] or undefined.
at::Tensor bigram_rows(const at::Tensor& tokens, const at::Tensor& previous, std::int64_t buckets);

}  // namespace unet_gpt
