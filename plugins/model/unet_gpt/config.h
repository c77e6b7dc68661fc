// Shape and switches of the model, checked. Defaults are the reference's (reference section 2).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "caddie/model.h"
#include "caddie/ops.h"

namespace unet_gpt {

std::span<const caddie::OptionSpec> option_specs();

// Before block `block`, skip row `row` times the output of block `source` is added.
struct Skip {
  std::int64_t block, row, source;
};

struct Config {
  std::int64_t vocabulary, layers, width, heads, kv_heads, hidden, xsa_last, max_sequence;
  double logit_cap, rope_base, query_gain, embedding_std, slope;
  std::optional<double> embedding_spectrum;  // power of the law of its singular values; none: left as drawn
  caddie::ops::RopeTables rope_tables;
  bool skips;

  Config(const caddie::Options& options, const caddie::ModelContext& context);

  std::int64_t head() const { return width / heads; }
  std::int64_t kv_width() const { return kv_heads * head(); }
  std::int64_t skip_rows() const { return skips ? layers / 2 : 0; }
  bool excludes_self(std::int64_t layer) const { return layer >= layers - xsa_last; }
  std::optional<Skip> skip_before(std::int64_t block) const;
};

}  // namespace unet_gpt
