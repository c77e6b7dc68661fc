// Blobs dealt to segments that are coded independently of each other, one thread each at a time. Where segments begin
// follows from the blobs' shapes alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "caddie/compressor.h"
#include "model.h"
#include "stream.h"

namespace rans {

// Codes `begin` to `begin + count` of a blob: whole rows of it.
struct Place {
  std::size_t blob;
  std::int64_t begin, count, width;
};
struct PieceHead {
  int mean = 0;  // of magnitudes, in 1/32: at most 4096
  std::size_t model = 0;  // class
};
struct Segment {
  std::size_t first_place = 0, places = 0;
};
struct Layout {
  std::vector<Place> places;  // of all int8 blobs
  std::vector<Segment> segments;
  std::vector<std::vector<std::size_t>> others;  // blobs of one other type each, in the order of ElementType
};
// Matrices larger than `bytes` are cut between rows; segments end once they hold `bytes` or more.
Layout lay(std::span<const caddie::BlobShape> shapes, std::size_t bytes);

// A piece as it is coded: the codes, or their differences to the row above, and the level of each.
struct Measured {
  std::vector<std::uint8_t> symbols, levels;
  std::int64_t width = 0;
  PieceHead head;
};
// Adds to `counts` how often each symbol occurs at each level.
Measured measure(std::span<const std::byte> codes, std::int64_t width, ModelCounts& counts);
std::vector<std::byte> encode(std::span<const Measured> pieces, const Model& model);
// Throws Error(data) unless the bytes are exactly what was coded. `entries` of each class, see lay_out().
void decode(std::span<const std::byte> bytes, std::span<const Piece> pieces, std::span<const std::size_t> classes,
            std::span<const std::vector<std::uint32_t>> entries, DecodePiece decoder);

// Numbers of `width` bytes, split into their first, second, ... bytes; each of these is coded on its own, stored where that
// is no shorter.
std::vector<std::byte> encode_planes(std::span<const std::byte> numbers, int width);
void decode_planes(std::span<const std::byte> bytes, std::span<std::byte> numbers, int width);

}  // namespace rans
