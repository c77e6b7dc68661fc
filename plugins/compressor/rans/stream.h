// 64 interleaved rANS coders (Duda 2014; Giesen 2014, "Interleaved entropy coders") over the codes of a piece: states of 32
// bits, refilled by words of 16, probabilities in 4096ths. The order of rows, blocks and lanes is written here once, for
// the encoder and all decoders. Included by files that are compiled for different instruction sets, as levels.h is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "levels.h"

namespace rans {

// A coded piece while it is decoded. Beyond the end come zeros.
struct Stream {
  std::array<std::uint32_t, 64> states;
  const std::uint8_t* next;
  const std::uint8_t* end;
  bool beyond = false;
};

// Rows of codes of one matrix: `count` codes, `width` a row (the last one may be shorter).
struct Piece {
  std::int8_t* codes;
  std::int64_t count, width;
  int mean;  // of magnitudes, in 1/32
};

// Decodes a piece; `entries` has kLevels tables of 4096 (tables.h). Stops where the stream is beyond its end.
using DecodePiece = void (*)(Stream& stream, const std::uint32_t* entries, const Piece& piece);
void decode_plain(Stream& stream, const std::uint32_t* entries, const Piece& piece);  // the oracle
void decode_avx2(Stream& stream, const std::uint32_t* entries, const Piece& piece);
void decode_avx512(Stream& stream, const std::uint32_t* entries, const Piece& piece);
// The fastest that this processor has.
DecodePiece fastest_decoder();

namespace {

// A block of up to 64 codes of a row, and what is known before it.
struct Block {
  std::int8_t* codes;
  const std::int8_t* above;  // the row before at the same columns; zeros for the first row
  int count;
  Expectation expected;
  const std::uint8_t* logs;  // of the columns; zeros with differences
  std::uint16_t* sums;       // of the columns' magnitudes, to be added to
};
constexpr std::int8_t kNoRow[kLanes] = {};
constexpr std::uint8_t kNoLogs[kLanes] = {};

// Calls visit(block) for every block in order: it knows or finds the codes, adds to the columns' sums, and gives the
// block's. Ends where stop() says so.
template <class Visit, class Stop>
void walk(const Piece& piece, const Visit& visit, const Stop& stop) {
  Levels levels(piece.width, piece.mean);
  for (std::int64_t begin = 0; begin < piece.count; begin += piece.width) {
    const std::int64_t row = std::min(piece.width, piece.count - begin);
    levels.begin_row();
    for (std::int64_t c = 0; c < row; c += kLanes) {
      Block block;
      block.codes = piece.codes + begin + c;
      block.above = begin > 0 ? block.codes - piece.width : kNoRow;
      block.count = static_cast<int>(std::min<std::int64_t>(kLanes, row - c));
      block.expected = levels.expect();
      block.logs = block.expected.differences ? kNoLogs : levels.logs() + c;
      block.sums = levels.sums() + c;
      levels.end_block(visit(block), block.count);
      if (stop()) return;
    }
    levels.end_row();
  }
}

inline int wrapped(int code) { return static_cast<std::int8_t>(static_cast<std::uint8_t>(code)); }

// What all visits do with a code that is known.
inline void note(const Block& block, int i, BlockSums& sums) {
  const int magnitude = std::abs(int{block.codes[i]});
  block.sums[i] = static_cast<std::uint16_t>(block.sums[i] + magnitude);
  sums.magnitudes += magnitude;
  sums.apart += std::abs(wrapped(block.codes[i] - block.above[i]));
}

inline BlockSums decode_block(Stream& stream, const std::uint32_t* entries, const Block& block) {
  BlockSums sums{0, 0};
  for (int i = 0; i < block.count; ++i) {
    std::uint32_t& x = stream.states[static_cast<std::size_t>(i)];
    const int level = Levels::level(block.logs[i], block.expected.up, block.expected.down);
    const std::uint32_t entry = entries[static_cast<std::uint32_t>(level) * kProbabilityOne + (x & (kProbabilityOne - 1))];
    x = (entry >> kProbabilityBits & (kProbabilityOne - 1)) * (x >> kProbabilityBits) + (entry & (kProbabilityOne - 1));
    if (x < kStateLow) {
      std::uint32_t word = 0;
      if (stream.end - stream.next >= 2)
        word = stream.next[0] | static_cast<std::uint32_t>(stream.next[1]) << 8, stream.next += 2;
      else
        stream.beyond = true;
      x = x << 16 | word;
    }
    const int symbol = static_cast<int>(entry >> 24);
    block.codes[i] = static_cast<std::int8_t>(wrapped(symbol + (block.expected.differences ? block.above[i] : 0)));
    note(block, i, sums);
  }
  return sums;
}

}  // namespace
}  // namespace rans
