#include "generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "unet_gpt.h"

namespace unet_gpt {

namespace ops = caddie::ops;

CachedGenerator::CachedGenerator(UnetGpt& model, std::int64_t batch, std::int64_t capacity)
    : model_(model), batch_(batch), capacity_(capacity) {
  CADDIE_CHECK(batch > 0 && capacity > 0, caddie::ErrorKind::failed, "a generator of ", batch, " sequences of ", capacity,
               " tokens cannot be made");
  const auto& config = model.config_;
  const auto options = at::TensorOptions().dtype(model.weights_.type()).device(model.device_);
  for (std::size_t position = 0; position < model.order_.size(); ++position) {
    keys_.push_back(at::empty({batch, capacity, config.kv_heads, config.head()}, options));
    values_.push_back(at::empty_like(keys_.back()));
  }
}

// The same tensors from call to call: a recorded step finds them where they were.
void CachedGenerator::keep_past(const InputPast& now) {
  const auto keep = [](at::Tensor& kept, const at::Tensor& value) {
    if (!value.defined()) return;
    if (kept.defined())
      kept.copy_(value);
    else
      kept = value.clone();
  };
  keep(past_.token, now.token);
  keep(past_.stream, now.stream);
}

at::Tensor CachedGenerator::attend(std::int64_t layer, std::int64_t index, const at::Tensor& qkv) {
  const auto& config = model_.config_;
  const auto& block = model_.weights_.blocks[static_cast<std::size_t>(layer)];
  const auto length = qkv.size(1);
  const auto &keys = keys_[static_cast<std::size_t>(index)], &values = values_[static_cast<std::size_t>(index)];
  if (at_.defined())
    return ops::cached_attention(qkv, model_.cos_, model_.sin_, block.query_gain, keys, values, at_, config.excludes_self(layer));
  return ops::cached_attention(qkv, model_.cos_.narrow(0, position_, length), model_.sin_.narrow(0, position_, length),
                               block.query_gain, keys, values, position_, config.excludes_self(layer));
}

at::Tensor CachedGenerator::feed(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  model_.check_batch(tokens);
  CADDIE_CHECK(tokens.size(0) == batch_, caddie::ErrorKind::failed, "the generator holds ", batch_, " sequences, it was fed ",
               tokens.size(0));
  CADDIE_CHECK(position_ + tokens.size(1) <= capacity_, caddie::ErrorKind::failed, "the generator holds ", capacity_,
               " tokens a sequence, ", position_ + tokens.size(1), " were fed");
  CADDIE_ASSERT(!feeding_at_);
  UnetGpt::Hooks hooks;
  hooks.attend = [this](std::int64_t layer, std::int64_t index, const at::Tensor& qkv) { return attend(layer, index, qkv); };
  hooks.past = &past_;
  const auto x = model_.run_blocks(tokens, hooks);
  position_ += tokens.size(1);
  return model_.head(x.narrow(1, x.size(1) - 1, 1)).squeeze(1);
}

at::Tensor CachedGenerator::feed_at(const at::Tensor& tokens, const at::Tensor& position) {
  const at::NoGradGuard no_grad;
  model_.check_batch(tokens);
  CADDIE_CHECK(tokens.size(0) == batch_ && tokens.size(1) == 1, caddie::ErrorKind::failed, "the generator holds ", batch_,
               " sequences and takes one token of each, it was fed ", tokens.sizes());
  feeding_at_ = true;
  at_ = position;
  UnetGpt::Hooks hooks;
  hooks.attend = [this](std::int64_t layer, std::int64_t index, const at::Tensor& qkv) { return attend(layer, index, qkv); };
  hooks.attention_half = [this](std::int64_t layer, std::int64_t index, const at::Tensor& x, const at::Tensor& x0) {
    return ops::cached_attention_half(x, x0, model_.attention_weights(layer), model_.cos_, model_.sin_,
                                      keys_[static_cast<std::size_t>(index)], values_[static_cast<std::size_t>(index)], at_);
  };
  InputPast past = past_;
  // A generator's first token has no predecessor, which is another step than the others.
  hooks.past = model_.config_.remembers() ? &past : nullptr;
  const auto x = model_.run_blocks(tokens, hooks);
  if (hooks.past) keep_past(past);
  at_ = at::Tensor();
  return model_.head(x).squeeze(1);
}

}  // namespace unet_gpt
