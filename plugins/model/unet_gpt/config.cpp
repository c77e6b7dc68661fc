#include "config.h"

#include <cmath>
#include <string>

#include "caddie/error.h"

namespace unet_gpt {

using caddie::ErrorKind;
using caddie::OptionSpec;
using caddie::OptionType;

std::span<const OptionSpec> option_specs() {
  static const OptionSpec specs[] = {
      {"vocabulary", OptionType::integer, "null", "2", nullptr, nullptr, "pieces; null: as many as the tokenizer has"},
      {"layers", OptionType::integer, "10", "1", "1000", nullptr, "blocks; the first half encodes, the rest decodes"},
      {"width", OptionType::integer, "512", "2", "65536", nullptr, "channels of the residual stream"},
      {"heads", OptionType::integer, "8", "1", "1024", nullptr, "query heads; width / heads must be even"},
      {"kv_heads", OptionType::integer, "4", "1", "1024", nullptr, "key/value heads; must divide heads"},
      {"mlp_ratio", OptionType::number, "3.5", "0.01", "64", nullptr, "hidden channels of the MLP = floor(mlp_ratio * width)"},
      {"xsa_last", OptionType::integer, "4", "0", "1000", nullptr, "exclusive self attention in that many last blocks"},
      {"logit_cap", OptionType::number, "30", "0.001", nullptr, nullptr, "logits are cap * tanh(z / cap)"},
      {"rope_base", OptionType::number, "10000", "1", nullptr, nullptr, "base of the rotation's frequencies"},
      {"rope_tables", OptionType::text, "\"float32\"", nullptr, nullptr, "float32|bf16_compiled|bf16_eager",
       "precision of the rotation's tables; bf16_compiled is what the published run trained with"},
      {"query_gain", OptionType::number, "1.5", nullptr, nullptr, nullptr, "initial value of the learned gain of each query head"},
      {"embedding_std", OptionType::number, "0.005", "0", nullptr, nullptr, "standard deviation of the initial embedding"},
      {"embedding_spectrum", OptionType::number, "0.5", "0", "8", nullptr,
       "initial singular values of the embedding: S_1 k^-power; null: as drawn"},
      {"slope", OptionType::number, "0.5", nullptr, nullptr, nullptr, "negative slope of the leaky ReLU that is squared; 0: squared ReLU"},
      {"skips", OptionType::boolean, "true", nullptr, nullptr, nullptr, "U-Net skips from encoding to decoding blocks"},
  };
  return specs;
}

namespace {

std::int64_t vocabulary_of(const caddie::Options& options, const caddie::ModelContext& context) {
  if (options.is_null("vocabulary")) return context.vocabulary;
  const auto wanted = options.integer("vocabulary");
  CADDIE_CHECK(context.vocabulary == 0 || wanted == context.vocabulary, ErrorKind::usage, "model.vocabulary is ", wanted,
               ", but the tokenizer has ", context.vocabulary, " pieces");
  return wanted;
}

caddie::ops::RopeTables tables_of(const std::string& name) {
  if (name == "bf16_compiled") return caddie::ops::RopeTables::bf16_compiled;
  if (name == "bf16_eager") return caddie::ops::RopeTables::bf16_eager;
  return caddie::ops::RopeTables::float32;
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
      skips(options.boolean("skips")) {
  if (!options.is_null("embedding_spectrum")) embedding_spectrum = options.number("embedding_spectrum");
  CADDIE_CHECK(vocabulary >= 2, ErrorKind::usage, "a vocabulary of ", vocabulary, " pieces is too small");
  CADDIE_CHECK(width % heads == 0 && head() % 2 == 0, ErrorKind::usage, "model.width ", width, " over model.heads ", heads,
               " must give a whole, even head size");
  CADDIE_CHECK(heads % kv_heads == 0, ErrorKind::usage, "model.kv_heads ", kv_heads, " does not divide model.heads ", heads);
  CADDIE_CHECK(hidden >= 1, ErrorKind::usage, "model.mlp_ratio times model.width leaves no hidden channel");
  CADDIE_CHECK(xsa_last <= layers, ErrorKind::usage, "model.xsa_last ", xsa_last, " is more than model.layers ", layers);
}

std::optional<Skip> Config::skip_before(std::int64_t block) const {
  const auto encoders = layers / 2, decoders = layers - encoders;
  const Skip skip{block, block - decoders, 2 * decoders - 1 - block};
  if (!skips || block < encoders || skip.row < 0 || skip.source < 0 || skip.source >= encoders) return std::nullopt;
  return skip;
}

}  // namespace unet_gpt
