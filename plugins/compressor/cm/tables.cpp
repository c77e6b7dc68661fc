#include "coder.h"

namespace cm {

Tables::Tables() {
  // exp(1/256) in 24 binary places; its powers up to exp(8) stay below 2^37, products below 2^62.
  constexpr std::uint64_t kBase = 16842880, kOne = std::uint64_t{1} << 24;
  std::uint64_t power = kOne;
  squash[2048] = 32768;
  for (std::size_t i = 1; i < 2048; ++i) {
    power = (power * kBase + kOne / 2) >> 24;
    const std::uint64_t above = 65536 * power / (power + kOne);
    squash[2048 + i] = static_cast<std::uint16_t>(above);
    squash[2048 - i] = static_cast<std::uint16_t>(65536 - above);
  }
  squash[0] = squash[1];
  std::size_t place = 1;
  for (std::size_t i = 0; i < 4096; ++i) {  // the first value that reaches the middle of the i-th share
    while (place < 4095 && squash[place] < i * 16 + 8) ++place;
    stretch[i] = static_cast<std::int16_t>(static_cast<int>(place) - 2048);
  }
  for (std::size_t n = 0; n < rate.size(); ++n)
    rate[n] = static_cast<std::uint16_t>(655360 / (10 * static_cast<std::uint32_t>(n) + 16));
}

const Tables& tables() {
  static const Tables all;
  return all;
}

}  // namespace cm
