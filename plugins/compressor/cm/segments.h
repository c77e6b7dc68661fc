// Blobs dealt to segments that are coded independently, one thread each at a time. Where segments begin follows from the
// blobs' shapes alone.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "caddie/compressor.h"

namespace cm {

struct Segment {
  bool codes;                      // int8 matrices; else numbers of other types
  std::vector<std::size_t> blobs;  // indices
};
// Codes in segments that end once they hold `bytes` or more, all others in one more, at the end.
std::vector<Segment> make_segments(std::span<const caddie::BlobShape> shapes, std::size_t bytes);

std::vector<std::byte> encode(const Segment& segment, std::span<const caddie::Blob> blobs);
// Throws caddie::Error(data) unless the bytes are exactly what was coded.
void decode(const Segment& segment, std::span<const std::byte> bytes, std::span<const caddie::BlobShape> shapes,
            std::span<const std::span<std::byte>> outputs);

}  // namespace cm
