#include "config.h"

#include <cmath>
#include <string>

#include "caddie/error.h"

namespace unet_gpt {

using caddie::ErrorKind;

namespace {

std::int64_t vocabulary_of(const caddie::Options& options, const caddie::ModelContext& context) {
  if (options.is_null("vocabulary")) return context.vocabulary;
  const auto wanted = options.integer("vocabulary");
  CADDIE_CHECK(context.vocabulary == 0 || wanted == context.vocabulary, ErrorKind::usage, "model.vocabulary is ",
               wanted, ", but the tokenizer has ", context.vocabulary, " pieces");
  return wanted;
}

caddie::ops::RopeTables tables_of(const std::string& name) {
  if (name == "bf16_compiled") return caddie::ops::RopeTables::bf16_compiled;
  if (name == "bf16_eager") return caddie::ops::RopeTables::bf16_eager;
  return caddie::ops::RopeTables::float32;
}

Smear smear_of(const std::string& name) {
  return name == "gate" ? Smear::gate : name == "window" ? Smear::window : Smear::none;
}

AttentionGate gate_of(const std::string& name) {
  if (name == "out") return AttentionGate::out;
  if (name == "full") return AttentionGate::full;
  return name == "sparse" ? AttentionGate::sparse : AttentionGate::none;
}

std::optional<std::int64_t> integer_or_none(const caddie::Options& options, const char* key) {
  if (options.is_null(key)) return std::nullopt;
  return options.integer(key);
}

}  // namespace

Config::Config(const caddie::Options& options, const caddie::ModelContext& context)
    : vocabulary(vocabulary_of(options, context)),
      layers(options.integer("layers")),
      width(options.integer("width")),
      heads(options.integer("heads")),
      kv_heads(options.integer("kv_heads")),
      hidden(static_cast<std::int64_t>(std::floor(options.number("mlp_ratio") * static_cast<double>(width)))),
      xsa_last(options.integer("xsa_last")),
      max_sequence(context.max_sequence),
      logit_cap(options.number("logit_cap")),
      rope_base(options.number("rope_base")),
      query_gain(options.number("query_gain")),
      embedding_std(options.number("embedding_std")),
      slope(options.number("slope")),
      rope_tables(tables_of(options.text("rope_tables"))),
      training_rope_tables(options.text("training_rope_tables") == "same"
                               ? rope_tables
                               : tables_of(options.text("training_rope_tables"))),
      rope_dims(integer_or_none(options, "rope_dims").value_or(head())),
      skips(options.boolean("skips")),
      gated_skips(options.boolean("gated_skips")),
      layer_scaled_norms(options.boolean("layer_scaled_norms")),
      tied(options.boolean("tied")),
      round_scored_weights(options.boolean("round_scored_weights")),
      embedding_rank(integer_or_none(options, "embedding_rank")),
      bigram_buckets(options.integer("bigram_buckets")),
      bigram_dim(options.integer("bigram_dim")),
      smear(smear_of(options.text("smear"))),
      smear_window(options.integer("smear_window")),
      smear_boundary(options.integer("smear_boundary")),
      attention_gate(gate_of(options.text("attention_gate"))),
      attention_gate_window(options.integer("attention_gate_window")),
      attention_gate_scale(options.number("attention_gate_scale")),
      parallel_from(integer_or_none(options, "parallel_from")),
      loop_first(options.integer("loop_first")),
      loop_last(options.integer("loop_last")),
      loop_passes(options.integer("loop_passes")),
      loop_from(options.number("loop_from")) {
  if (!options.is_null("embedding_spectrum")) embedding_spectrum = options.number("embedding_spectrum");
  CADDIE_CHECK(vocabulary >= 2, ErrorKind::usage, "a vocabulary of ", vocabulary, " pieces is too small");
  CADDIE_CHECK(width % heads == 0 && head() % 2 == 0, ErrorKind::usage, "model.width ", width, " over model.heads ",
               heads, " must give a whole, even head size");
  CADDIE_CHECK(heads % kv_heads == 0, ErrorKind::usage, "model.kv_heads ", kv_heads, " does not divide model.heads ",
               heads);
  CADDIE_CHECK(hidden >= 1, ErrorKind::usage, "model.mlp_ratio times model.width leaves no hidden channel");
  CADDIE_CHECK(xsa_last <= layers, ErrorKind::usage, "model.xsa_last ", xsa_last, " is more than model.layers ",
               layers);
  CADDIE_CHECK(rope_dims % 2 == 0 && rope_dims <= head(), ErrorKind::usage, "model.rope_dims is ", rope_dims,
               "; accepted: an even number up to the head size ", head());
  CADDIE_CHECK(!loops() || (loop_first <= loop_last && loop_last < layers), ErrorKind::usage, "model.loop_first ",
               loop_first, " to model.loop_last ", loop_last, " are not blocks of 0 to ", layers - 1);
  CADDIE_CHECK(bigram_buckets == 0 || bigram_buckets >= 2, ErrorKind::usage, "model.bigram_buckets is ", bigram_buckets,
               "; accepted: 0, or at least 2");
  CADDIE_CHECK(smear != Smear::window || smear_window <= width, ErrorKind::usage, "model.smear_window ", smear_window,
               " is more than model.width ", width);
  CADDIE_CHECK(attention_gate == AttentionGate::none || gate_inputs() <= width, ErrorKind::usage,
               "model.attention_gate_window ", attention_gate_window, " is more than model.width ", width);
}

double Config::norm_scale(std::int64_t layer) const {
  return layer_scaled_norms ? 1 / std::sqrt(static_cast<double>(layer + 1)) : 1;
}

bool Config::in_small_ops(std::int64_t layer) const {
  return (layer_scaled_norms && layer > 0) || attention_gate != AttentionGate::none || parallel(layer);
}

std::string Config::small_ops_because() const {
  std::string names;
  const auto add = [&](bool on, const char* name) {
    if (on) names += (names.empty() ? "" : ", ") + std::string(name);
  };
  add(layer_scaled_norms && layers > 1, "layer_scaled_norms");
  add(attention_gate != AttentionGate::none, "attention_gate");
  add(parallel(layers - 1), "parallel_from");
  return names;
}

}  // namespace unet_gpt
