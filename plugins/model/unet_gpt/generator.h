// Generation with a key/value cache: a batch of prompts at once, then token by token. What it returns equals the last
// row of a full forward pass over everything fed so far.
#pragma once

#include "caddie/model.h"
#include "input.h"

namespace unet_gpt {

class UnetGpt;

class CachedGenerator final : public caddie::Generator {
 public:
  CachedGenerator(UnetGpt& model, std::int64_t batch, std::int64_t capacity);
  at::Tensor feed(const at::Tensor& tokens) override;
  bool feeds_at() const override { return true; }
  at::Tensor feed_at(const at::Tensor& tokens, const at::Tensor& position) override;

 private:
  at::Tensor attend(std::int64_t layer, std::int64_t index, const at::Tensor& qkv);
  void keep_past(const InputPast& now);

  UnetGpt& model_;
  std::int64_t batch_, capacity_, position_ = 0;
  std::vector<at::Tensor> keys_, values_;  // a position in the order of the blocks: [B, capacity, K, h]
  InputPast past_;
  at::Tensor at_;  // the position on the device while feed_at() runs
  bool feeding_at_ = false;
};

}  // namespace unet_gpt
