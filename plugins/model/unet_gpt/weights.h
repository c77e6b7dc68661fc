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

  at::Tensor skip;       // [rows, D], undefined without skips
  at::Tensor embedding;  // [V, D]
  std::vector<Block> blocks;

  at::Tensor embedding_copy;
  std::vector<BlockCopies> copies;
  at::ScalarType type() const { return type_; }
  bool fake_quantized() const { return fake_quantized_; }

 private:
  at::Tensor add(std::string name, std::vector<std::int64_t> shape, caddie::Role role, const char* group, int layer);
  at::Tensor copy_of(const at::Tensor& weight, int bits) const;
  int bits_of(const std::string& name, bool training) const;

  at::Device device_;
  at::ScalarType type_;
  std::vector<caddie::Parameter> parameters_;
  std::map<std::string, int> fake_quant_bits_;
  bool fake_quantized_ = false;
};

std::string block_name(std::int64_t layer, const char* rest);  // "blocks.3." + rest

}  // namespace unet_gpt
