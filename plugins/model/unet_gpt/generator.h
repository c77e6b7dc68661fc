// Generation with a key/value cache: a batch of prompts at once, then token by token. What it returns equals the last
// row of a full forward pass over everything fed so far.
#pragma once

#include "caddie/model.h"

namespace unet_gpt {

class UnetGpt;

class CachedGenerator final : public caddie::Generator {
 public:
  CachedGenerator(UnetGpt& model, std::int64_t batch, std::int64_t capacity);
  at::Tensor feed(const at::Tensor& tokens) override;

 private:
  at::Tensor attend(std::int64_t layer, const at::Tensor& qkv);

  UnetGpt& model_;
  std::int64_t batch_, capacity_, position_ = 0;
  std::vector<at::Tensor> keys_, values_;  // a layer: [B, capacity, K, h]
};

}  // namespace unet_gpt
