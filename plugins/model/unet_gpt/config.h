// Shape and switches of the model, checked. Defaults are the reference's (reference section 2); what later systems
// added is off. The options themselves are in options.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "caddie/model.h"
#include "caddie/ops.h"

namespace unet_gpt {

std::span<const caddie::OptionSpec> option_specs();

enum class Smear { none, gate, window };
enum class AttentionGate { none, out, full, sparse };

struct Config {
  std::int64_t vocabulary, layers, width, heads, kv_heads, hidden, xsa_last, max_sequence;
  double logit_cap, rope_base, query_gain, embedding_std, slope;  // logit_cap 0: none
  std::optional<double> embedding_spectrum;  // power of the law of its singular values; none: left as drawn
  caddie::ops::RopeTables rope_tables, training_rope_tables;
  std::int64_t rope_dims;  // of each head, the rotated ones
  bool skips, gated_skips, layer_scaled_norms, tied, round_scored_weights;
  std::optional<std::int64_t> embedding_rank;  // none: not factored
  std::int64_t bigram_buckets, bigram_dim;     // no buckets: no bigram embedding
  Smear smear;
  std::int64_t smear_window, smear_boundary;
  AttentionGate attention_gate;
  std::int64_t attention_gate_window;
  double attention_gate_scale;
  std::optional<std::int64_t> parallel_from;        // first block whose halves run side by side
  std::int64_t loop_first, loop_last, loop_passes;  // blocks [first, last] run `passes` times
  double loop_from;                                 // share of the budget at which they begin to

  Config(const caddie::Options& options, const caddie::ModelContext& context);

  std::int64_t head() const { return width / heads; }
  std::int64_t kv_width() const { return kv_heads * head(); }
  std::int64_t embedding_columns() const { return embedding_rank.value_or(width); }
  std::int64_t gate_inputs() const { return attention_gate == AttentionGate::full ? width : attention_gate_window; }
  bool loops() const { return loop_passes > 1; }
  // Blocks that are run, one after the other, with the loop or before it begins.
  std::int64_t positions(bool looped) const {
    return layers + (looped ? (loop_passes - 1) * (loop_last - loop_first + 1) : 0);
  }
  std::int64_t skip_rows() const { return skips ? positions(loops()) / 2 : 0; }
  bool excludes_self(std::int64_t layer) const { return layer >= layers - xsa_last; }
  bool parallel(std::int64_t layer) const { return parallel_from && layer >= *parallel_from; }
  // What every norm of a block is multiplied with.
  double norm_scale(std::int64_t layer) const;
  // A block that no large op (caddie::ops::attention_half) computes as a whole.
  bool in_small_ops(std::int64_t layer) const;
  // Whether the input stream of a position depends on the one before.
  bool remembers() const { return bigram_buckets > 0 || smear != Smear::none; }
  // The options that are the reason; empty without such a block.
  std::string small_ops_because() const;
};

}  // namespace unet_gpt
