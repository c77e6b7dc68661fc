// Byte shuffle of a stream with a stride: all bytes at positions 0 mod stride, then those at 1 mod stride, and so on
// (reference section 4). Shared by compressor plugins and by checks.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "caddie/export.h"

namespace caddie {

// Length after shuffling: `size` rounded up to a multiple of `stride`.
CADDIE_API std::size_t shuffled_size(std::size_t size, std::size_t stride);
// Appends zeros up to a multiple of `stride` and shuffles. A stride of 0 or 1 copies.
CADDIE_API std::vector<std::byte> byte_shuffle(std::span<const std::byte> data, std::size_t stride);
// The inverse, without the padding: fills `output`. `shuffled` is exactly shuffled_size(output.size(), stride) long and
// its padding must be zero, else Error(data).
CADDIE_API void byte_unshuffle(std::span<const std::byte> shuffled, std::size_t stride, std::span<std::byte> output);

}  // namespace caddie
