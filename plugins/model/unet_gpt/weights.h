// The model's parameters under their names, and the copies of them that compute: rounded to bfloat16 and fake-quantized
// as the run asks for, queries, keys and values stacked for one product.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "caddie/model.h"
#include "config.h"

namespace unet_gpt {

struct Block {
  at::Tensor attention_scale, mlp_scale;  // [D]
  at::Tensor residual_mix;                // [2, D]
  at::Tensor query_gain;                  // [H]
  at::Tensor gate;                        // [H, n], undefined without attention gates
  at::Tensor query, key, value;           // [D, D], [K h, D], [K h, D]
  at::Tensor output, up, down;            // [D, D], [M, D], [D, M]
};

// Compute copies of a block's matrices, without gradients.
struct BlockCopies {
  at::Tensor qkv;  // [D + 2 K h, D]
  at::Tensor output, up, down;
};

class Weights {
 public:
  Weights(const Config& config, at::Device device, caddie::Precision precision);

  const std::vector<caddie::Parameter>& parameters() const { return parameters_; }
  void initialize(const Config& config, caddie::Random& random);
  void set_fake_quant(std::span<const caddie::FakeQuantRule> rules);
  void prepare(bool training);

  // Undefined where the options ask for none.
  at::Tensor skip, skip_gate;  // [rows, D]
  at::Tensor embedding;        // [V, D], factored [V, r]
  at::Tensor expand, reduce;   // [D, r] behind a factored embedding, [r, D] before its output map
  at::Tensor output_map;       // [V, D] or [V, r]: the embedding itself if tied
  at::Tensor bigram_table, bigram_projection, bigram_scale;  // [buckets, d], [D, d], [1]
  at::Tensor smear_gate;       // [D], of the window form [n]
  at::Tensor smear_strength;   // [1], of the window form
  std::vector<Block> blocks;

  at::Tensor output_map_copy, expand_copy, reduce_copy, bigram_projection_copy;
  std::vector<BlockCopies> copies;
  at::ScalarType type() const { return type_; }
  bool fake_quantized() const { return fake_quantized_; }

 private:
  void add_around_blocks(const Config& config);
  void initialize_around_blocks(const Config& config, const caddie::Random& random);
  at::Tensor add(std::string name, std::vector<std::int64_t> shape, caddie::Role role, const char* group, int layer);
  at::Tensor copy_of(const at::Tensor& weight, int bits) const;
  int bits_of(const std::string& name, bool training) const;

  at::Device device_;
  at::ScalarType type_;
  std::vector<caddie::Parameter> parameters_;
  std::map<std::string, int> fake_quant_bits_;
  bool fake_quantized_ = false;
  bool round_scored_, rounds_ = false;  // to bfloat16, what scores; whether the copies now are
};

std::string block_name(std::int64_t layer, const char* rest);  // "blocks.3." + rest

}  // namespace unet_gpt
