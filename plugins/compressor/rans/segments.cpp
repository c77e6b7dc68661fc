#include "segments.h"

#include <algorithm>

#include "caddie/error.h"

namespace rans {
namespace {

using caddie::ErrorKind;

std::uint32_t read_word(const std::byte* at, int bytes) {
  std::uint32_t value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(at[i]);
  return value;
}

PieceHead head_of(std::span<const std::byte> codes) {
  std::uint64_t sum = 0;
  int largest = 0;
  for (const std::byte byte : codes) {
    const int magnitude = std::abs(int{static_cast<std::int8_t>(byte)});
    sum += static_cast<std::uint64_t>(magnitude);
    largest = std::max(largest, magnitude);
  }
  return {static_cast<int>(sum * kUnit / codes.size()), class_of(largest)};
}

}  // namespace

Layout lay(std::span<const caddie::BlobShape> shapes, std::size_t bytes) {
  Layout layout;
  std::vector<std::vector<std::size_t>> others(6);
  std::int64_t held = 0;
  const auto most = static_cast<std::int64_t>(std::max<std::size_t>(bytes, 1));
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const auto count = static_cast<std::int64_t>(shapes[i].bytes());
    if (count == 0) continue;
    if (shapes[i].type != caddie::ElementType::int8) {
      others[static_cast<std::size_t>(shapes[i].type)].push_back(i);
      continue;
    }
    const std::int64_t width = row_width(shapes[i].columns), rows = std::max<std::int64_t>((most + width - 1) / width, 1);
    for (std::int64_t begin = 0; begin < count;) {
      // The last rows are not left alone.
      const std::int64_t left = count - begin, piece = left < 3 * rows * width / 2 ? left : rows * width;
      if (layout.segments.empty() || held >= most) layout.segments.push_back({layout.places.size(), 0}), held = 0;
      layout.places.push_back({i, begin, piece, width});
      ++layout.segments.back().places;
      begin += piece, held += piece;
    }
  }
  for (auto& blobs : others)
    if (!blobs.empty()) layout.others.push_back(std::move(blobs));
  return layout;
}

Measured measure(std::span<const std::byte> codes, std::int64_t width, ModelCounts& counts) {
  Measured piece;
  piece.width = width;
  piece.head = head_of(codes);
  piece.symbols.reserve(codes.size());
  piece.levels.reserve(codes.size());
  auto& own = counts[piece.head.model];
  // Nothing is written through the pointer.
  auto* first = const_cast<std::int8_t*>(reinterpret_cast<const std::int8_t*>(codes.data()));
  walk(
      Piece{first, static_cast<std::int64_t>(codes.size()), width, piece.head.mean},
      [&](const Block& block) {
        BlockSums sums{0, 0};
        for (int i = 0; i < block.count; ++i) {
          const int level = Levels::level(block.logs[i], block.expected.up, block.expected.down);
          const auto symbol = static_cast<std::uint8_t>(block.codes[i] - (block.expected.differences ? block.above[i] : 0));
          ++own[static_cast<std::size_t>(level)][symbol];
          piece.levels.push_back(static_cast<std::uint8_t>(level));
          piece.symbols.push_back(symbol);
          note(block, i, sums);
        }
        return sums;
      },
      [] { return false; });
  return piece;
}

std::vector<std::byte> encode(std::span<const Measured> pieces, const Model& model) {
  struct Symbol {
    std::uint32_t frequency, start;
  };
  std::array<std::uint32_t, 64> states;
  states.fill(kStateLow);
  std::vector<std::uint16_t> words;  // the last one first
  for (std::size_t p = pieces.size(); p-- > 0;) {
    const Measured& piece = pieces[p];
    const ClassModel& own = model[piece.head.model];
    std::vector<std::array<Symbol, 256>> symbols(own.tables.size());
    for (std::size_t t = 0; t < symbols.size(); ++t) {
      std::uint32_t start = 0;
      for (std::size_t s = 0; s < 256; ++s) symbols[t][s] = {own.tables[t][s], start}, start += own.tables[t][s];
    }
    const auto width = static_cast<std::size_t>(piece.width);
    for (std::size_t i = piece.symbols.size(); i-- > 0;) {
      const Symbol& symbol = symbols[own.table[piece.levels[i]]][piece.symbols[i]];
      std::uint32_t& x = states[i % width % kLanes];
      if (x >= std::uint64_t{symbol.frequency} << (32 - kProbabilityBits)) {
        words.push_back(static_cast<std::uint16_t>(x));
        x >>= 16;
      }
      x = (x / symbol.frequency << kProbabilityBits) + x % symbol.frequency + symbol.start;
    }
  }
  std::vector<std::byte> bytes;
  bytes.reserve(4 * states.size() + 2 * words.size());
  for (const std::uint32_t state : states)
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::byte>(state >> shift));
  for (std::size_t i = words.size(); i-- > 0;)
    for (int shift = 0; shift < 16; shift += 8) bytes.push_back(static_cast<std::byte>(words[i] >> shift));
  return bytes;
}

void decode(std::span<const std::byte> bytes, std::span<const Piece> pieces, std::span<const std::size_t> classes,
            std::span<const std::vector<std::uint32_t>> entries, DecodePiece decoder) {
  Stream stream;
  const std::size_t head = 4 * stream.states.size();
  CADDIE_CHECK(bytes.size() >= head, ErrorKind::data, "a coded segment has ", bytes.size(), " bytes, at least ", head,
               " are needed");
  for (std::size_t i = 0; i < stream.states.size(); ++i) stream.states[i] = read_word(bytes.data() + 4 * i, 4);
  stream.next = reinterpret_cast<const std::uint8_t*>(bytes.data()) + head;
  stream.end = reinterpret_cast<const std::uint8_t*>(bytes.data()) + bytes.size();
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    decoder(stream, entries[classes[p]].data(), pieces[p]);
    CADDIE_CHECK(!stream.beyond, ErrorKind::data, "a coded segment ends early");
  }
  CADDIE_CHECK(stream.next == stream.end, ErrorKind::data, "a coded segment holds more than the header declares");
  for (const std::uint32_t state : stream.states)
    CADDIE_CHECK(state == kStateLow, ErrorKind::data, "a coded segment is damaged: it does not end where it began");
}

}  // namespace rans
