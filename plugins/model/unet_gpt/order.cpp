#include "order.h"

namespace unet_gpt {
namespace {

std::optional<Skip> skip_at(const Config& config, std::int64_t position, std::int64_t count) {
  const auto encoders = count / 2, decoders = count - encoders, decoder = position - encoders;
  if (!config.skips || decoder < 0) return std::nullopt;
  const Skip skip =
      config.loops() ? Skip{decoder, encoders - 1 - decoder} : Skip{position - decoders, 2 * decoders - 1 - position};
  if (skip.row < 0 || skip.source < 0 || skip.source >= encoders) return std::nullopt;
  return skip;
}

}  // namespace

std::vector<Position> execution_order(const Config& config, bool looped) {
  std::vector<std::int64_t> blocks;
  const bool loops = looped && config.loops();
  for (std::int64_t block = 0; block < config.layers; ++block) {
    blocks.push_back(block);
    if (!loops || block != config.loop_last) continue;
    for (std::int64_t pass = 1; pass < config.loop_passes; ++pass)
      for (std::int64_t again = config.loop_first; again <= config.loop_last; ++again) blocks.push_back(again);
  }
  std::vector<Position> order;
  const auto count = static_cast<std::int64_t>(blocks.size());
  for (std::int64_t i = 0; i < count; ++i)
    order.push_back({blocks[static_cast<std::size_t>(i)], skip_at(config, i, count), i < count / 2});
  return order;
}

}  // namespace unet_gpt
