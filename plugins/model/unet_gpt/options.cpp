// What a manifest can say about the model. Published values are the defaults of what is switched on.
#include "config.h"

namespace unet_gpt {

using caddie::OptionSpec;
using enum caddie::OptionType;

std::span<const OptionSpec> option_specs() {
  static const OptionSpec specs[] = {
      {"vocabulary", integer, "null", "2", nullptr, nullptr, "pieces; null: as many as the tokenizer has"},
      {"layers", integer, "10", "1", "1000", nullptr, "blocks; the first half encodes, the rest decodes"},
      {"width", integer, "512", "2", "65536", nullptr, "channels of the residual stream"},
      {"heads", integer, "8", "1", "1024", nullptr, "query heads; width / heads must be even"},
      {"kv_heads", integer, "4", "1", "1024", nullptr, "key/value heads; must divide heads"},
      {"mlp_ratio", number, "3.5", "0.01", "64", nullptr, "hidden channels of the MLP = floor(mlp_ratio * width)"},
      {"xsa_last", integer, "4", "0", "1000", nullptr,
       "exclusive self attention in that many last blocks; at most layers"},
      {"logit_cap", number, "30", "0", nullptr, nullptr, "logits are cap * tanh(z / cap); 0: no cap"},
      {"rope_base", number, "10000", "1", nullptr, nullptr, "base of the rotation's frequencies"},
      {"rope_dims", integer, "null", "2", "65536", nullptr, "rotated channels of each head, an even number; null: all"},
      {"rope_tables", text, "\"float32\"", nullptr, nullptr, "float32|bf16_compiled|bf16_eager",
       "precision of the rotation's tables; bf16_compiled is what the published run trained with"},
      {"training_rope_tables", text, "\"same\"", nullptr, nullptr, "same|float32|bf16_compiled|bf16_eager",
       "those of training steps where they differ from those that score, sample and calibrate: a mistake to measure"},
      {"round_scored_weights", boolean, "false", nullptr, nullptr, nullptr,
       "weights that score are rounded to bfloat16 whatever training computed with: another mistake to measure"},
      {"query_gain", number, "1.5", nullptr, nullptr, nullptr, "initial value of the learned gain of each query head"},
      {"embedding_std", number, "0.005", "0", nullptr, nullptr, "standard deviation of the initial embedding"},
      {"embedding_spectrum", number, "0.5", "0", "8", nullptr,
       "initial singular values of the embedding: S_1 k^-power; null: as drawn"},
      {"embedding_rank", integer, "null", "1", "65536", nullptr,
       "factored embedding: vocabulary x rank, then rank x width; null: not factored"},
      {"tied", boolean, "true", nullptr, nullptr, nullptr,
       "the embedding is the output map too; false: one of its own, initially 0"},
      {"slope", number, "0.5", nullptr, nullptr, nullptr,
       "negative slope of the leaky ReLU that is squared; 0: squared ReLU"},
      {"skips", boolean, "true", nullptr, nullptr, nullptr, "U-Net skips from encoding to decoding blocks"},
      {"gated_skips", boolean, "false", nullptr, nullptr, nullptr,
       "x = lerp(w * skip, x, sigmoid(g)), g learned, initially 0"},
      {"layer_scaled_norms", boolean, "false", nullptr, nullptr, nullptr,
       "norms of block l (from 0) times 1/sqrt(l + 1)"},
      {"bigram_buckets", integer, "0", "0", "16777216", nullptr,
       "rows of an embedding of hashed token pairs, added to the token's; 0: none"},
      {"bigram_dim", integer, "128", "1", "65536", nullptr, "channels of that embedding, mapped to width"},
      {"smear", text, "\"none\"", nullptr, nullptr, "none|gate|window",
       "mix in the previous position's input; gate: g x + (1 - g) prev; window: x + s sigmoid(w x[:n]) prev"},
      {"smear_window", integer, "12", "1", "65536", nullptr, "n, channels that the window form looks at"},
      {"smear_boundary", integer, "1", "-1", nullptr, nullptr,
       "token that begins a document: nothing of the one before is mixed in; -1: none, as first published"},
      {"attention_gate", text, "\"none\"", nullptr, nullptr, "none|out|full|sparse",
       "factor of each head's output; out: 2 sigmoid(W x[:n]); full: sigmoid(W x); sparse: sigmoid(s W x[:n])"},
      {"attention_gate_window", integer, "12", "1", "65536", nullptr, "n, channels that the gate looks at"},
      {"attention_gate_scale", number, "1", nullptr, nullptr, nullptr, "s of the sparse gate"},
      {"parallel_from", integer, "null", "0", "1000", nullptr,
       "from this block on attention and MLP read the same input, and both are added; null: no block"},
      {"loop_first", integer, "0", "0", "1000", nullptr, "first block that is run several times"},
      {"loop_last", integer, "0", "0", "1000", nullptr, "last block that is run several times"},
      {"loop_passes", integer, "1", "1", "64", nullptr,
       "how often these blocks are run, one after the other; 1: once, as all"},
      {"loop_from", number, "0", "0", "1", nullptr, "share of the training budget at which the repeats begin"},
  };
  return specs;
}

}  // namespace unet_gpt
