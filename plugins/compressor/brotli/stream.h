// One standard brotli stream (RFC 7932): `brotli -d` decodes it. Knows nothing of blobs and shuffling.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace brotli_plugin {

struct Settings {
  int quality;  // 0 to 11
  int window;   // log2 of the window in bytes, 10 to 24
  // About so many bytes are compressed on their own, in parallel; 0: all in one. Two or three parts are compared with the
  // whole, and the smaller stream is taken.
  std::size_t part = 0;
};

// `cancelled` is asked between pieces of the input, from several threads; true ends the work with Error(interrupted). The
// bytes are the same for any number of threads.
std::vector<std::byte> compress_stream(std::span<const std::byte> data, const Settings& settings, int threads,
                                       const std::function<bool()>& cancelled);
// Fills `output`. Throws Error(data) if the stream is damaged, or holds less or more than that.
void decompress_stream(std::span<const std::byte> stream, std::span<std::byte> output);

}  // namespace brotli_plugin
