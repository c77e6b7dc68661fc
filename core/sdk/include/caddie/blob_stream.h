// For compressors that see all blobs as one stream of bytes: the blobs one after the other, byte-shuffled as a whole if
// asked for, and the way back into the blobs.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "caddie/compressor.h"

namespace caddie {

// A row of an option table. The default differs between compressors.
constexpr OptionSpec shuffle_option(const char* fallback) {
  return {"shuffle", OptionType::integer, fallback, "0", "16", nullptr,
          "stride of the byte shuffle over the stream; 0 or 1: off"};
}

CADDIE_API std::vector<std::byte> join_blobs(std::span<const Blob> blobs, std::size_t stride);
// Calls `decode` once with a buffer of exactly the joined stream's size, which it must fill or throw Error(data); then
// fills the outputs. Memory is touched only as far as decode() writes.
CADDIE_API void split_blobs(std::span<const BlobShape> shapes, std::size_t stride,
                            std::span<const std::span<std::byte>> outputs,
                            const std::function<void(std::span<std::byte>)>& decode);

}  // namespace caddie
