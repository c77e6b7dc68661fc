// Numbers that are no codes: steps and vectors, half a percent of a large artifact. First bytes, second bytes, ... by one
// table each, or one for each chunk; as they are, or as differences to the number before.
#include <algorithm>
#include <array>
#include <memory>

#include "caddie/error.h"
#include "levels.h"
#include "segments.h"

namespace rans {
namespace {

using caddie::ErrorKind;
enum : std::uint32_t { kStored = 0, kBytes = 1, kDifferences = 2 };
constexpr std::size_t kPlaneLanes = 4;
// Numbers with one table: many together, or few, where tensors differ.
constexpr std::size_t kChunks[] = {std::size_t{1} << 28, std::size_t{1} << 15, std::size_t{1} << 13};

Counts count(std::span<const std::uint8_t> symbols) {
  Counts counts{};
  for (const auto symbol : symbols) ++counts[symbol];
  return counts;
}

std::vector<std::uint8_t> differences(std::span<const std::uint8_t> plane) {
  std::vector<std::uint8_t> result(plane.size());
  std::uint8_t before = 0;
  for (std::size_t i = 0; i < plane.size(); ++i) result[i] = static_cast<std::uint8_t>(plane[i] - before), before = plane[i];
  return result;
}

void append(std::vector<std::byte>& to, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to.push_back(static_cast<std::byte>(value >> (8 * i)));
}

// A table, then four states, then words.
std::vector<std::byte> coded(std::span<const std::uint8_t> symbols) {
  const Frequencies frequencies = fit(count(symbols), false);
  BitWriter table;
  write(frequencies, false, table);
  std::array<std::uint32_t, 256> starts{};
  for (std::size_t s = 1; s < 256; ++s) starts[s] = starts[s - 1] + frequencies[s - 1];
  std::array<std::uint32_t, kPlaneLanes> states;
  states.fill(kStateLow);
  std::vector<std::uint16_t> words;
  for (std::size_t i = symbols.size(); i-- > 0;) {
    const std::uint32_t frequency = frequencies[symbols[i]];
    std::uint32_t& x = states[i % kPlaneLanes];
    if (x >= std::uint64_t{frequency} << (32 - kProbabilityBits)) words.push_back(static_cast<std::uint16_t>(x)), x >>= 16;
    x = (x / frequency << kProbabilityBits) + x % frequency + starts[symbols[i]];
  }
  std::vector<std::byte> bytes = table.finish();
  for (const std::uint32_t state : states) append(bytes, state, 4);
  for (std::size_t i = words.size(); i-- > 0;) append(bytes, words[i], 2);
  return bytes;
}

void decode_symbols(std::span<const std::byte> bytes, std::span<std::uint8_t> symbols) {
  BitReader table(bytes);
  std::vector<std::uint32_t> entries(kProbabilityOne);
  lay_out(read(false, table), entries.data());
  auto rest = bytes.subspan(table.bytes_read());
  const auto take = [&](std::size_t size) {
    CADDIE_CHECK(rest.size() >= size, ErrorKind::data, "coded numbers end early");
    std::uint32_t value = 0;
    for (std::size_t i = size; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(rest[i]);
    rest = rest.subspan(size);
    return value;
  };
  std::array<std::uint32_t, kPlaneLanes> states;
  for (auto& state : states) state = take(4);
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    std::uint32_t& x = states[i % kPlaneLanes];
    const std::uint32_t entry = entries[x & (kProbabilityOne - 1)];
    x = (entry >> kProbabilityBits & (kProbabilityOne - 1)) * (x >> kProbabilityBits) + (entry & (kProbabilityOne - 1));
    if (x < kStateLow) x = x << 16 | take(2);
    symbols[i] = static_cast<std::uint8_t>(entry >> 24);
  }
  bool whole = rest.empty();
  for (const std::uint32_t state : states) whole = whole && state == kStateLow;
  CADDIE_CHECK(whole, ErrorKind::data, "coded numbers are damaged, or hold more than the header declares");
}

// A plane, or a chunk of it: kind, length, bytes.
void encode_chunk(std::span<const std::uint8_t> plane, std::vector<std::byte>& to) {
  std::uint32_t kind = kStored;
  std::vector<std::byte> best;
  for (const auto symbol : plane) best.push_back(static_cast<std::byte>(symbol));
  for (const std::uint32_t other : {kBytes, kDifferences}) {
    auto bytes = coded(other == kBytes ? std::vector(plane.begin(), plane.end()) : differences(plane));
    if (bytes.size() < best.size()) best = std::move(bytes), kind = other;
  }
  append(to, kind, 1);
  append(to, best.size(), 4);
  to.insert(to.end(), best.begin(), best.end());
}

std::vector<std::byte> encode_plane(std::span<const std::uint8_t> plane, std::size_t chunk) {
  std::vector<std::byte> result;
  for (std::size_t begin = 0; begin < plane.size(); begin += chunk)
    encode_chunk(plane.subspan(begin, std::min(chunk, plane.size() - begin)), result);
  return result;
}

void decode_chunk(std::span<const std::byte>& bytes, std::span<std::uint8_t> plane) {
  CADDIE_CHECK(bytes.size() >= 5, ErrorKind::data, "coded numbers end early");
  const auto kind = std::to_integer<std::uint32_t>(bytes[0]);
  std::size_t size = 0;
  for (std::size_t i = 5; i-- > 1;) size = size << 8 | std::to_integer<std::size_t>(bytes[i]);
  bytes = bytes.subspan(5);
  CADDIE_CHECK(kind <= kDifferences, ErrorKind::data, "coded numbers are of the unknown kind ", kind);
  CADDIE_CHECK(size <= bytes.size(), ErrorKind::data, "coded numbers have ", size, " bytes, ", bytes.size(), " are left");
  const auto own = bytes.first(size);
  bytes = bytes.subspan(size);
  if (kind == kStored) {
    CADDIE_CHECK(size == plane.size(), ErrorKind::data, size, " bytes are stored for ", plane.size(), " numbers");
    for (std::size_t i = 0; i < size; ++i) plane[i] = std::to_integer<std::uint8_t>(own[i]);
  } else {
    decode_symbols(own, plane);
    if (kind == kDifferences)
      for (std::size_t i = 1; i < plane.size(); ++i) plane[i] = static_cast<std::uint8_t>(plane[i] + plane[i - 1]);
  }
}

}  // namespace

std::vector<std::byte> encode_planes(std::span<const std::byte> numbers, int width) {
  const auto stride = static_cast<std::size_t>(width), count = numbers.size() / stride;
  std::vector<std::byte> result;
  for (std::size_t p = 0; p < stride; ++p) {
    std::vector<std::uint8_t> plane(count);
    for (std::size_t i = 0; i < count; ++i) plane[i] = std::to_integer<std::uint8_t>(numbers[i * stride + p]);
    auto best = encode_plane(plane, kChunks[0]);
    std::size_t kind = 0;
    for (std::size_t k = 1; k < std::size(kChunks); ++k) {
      if (count <= kChunks[k]) break;
      auto other = encode_plane(plane, kChunks[k]);
      if (other.size() < best.size()) best = std::move(other), kind = k;
    }
    append(result, kind, 1);
    result.insert(result.end(), best.begin(), best.end());
  }
  return result;
}

void decode_planes(std::span<const std::byte> bytes, std::span<std::byte> numbers, int width) {
  const auto stride = static_cast<std::size_t>(width), count = numbers.size() / stride;
  for (std::size_t p = 0; p < stride; ++p) {
    CADDIE_CHECK(!bytes.empty(), ErrorKind::data, "coded numbers end early");
    const auto kind = std::to_integer<std::size_t>(bytes[0]);
    CADDIE_CHECK(kind < std::size(kChunks), ErrorKind::data, "coded numbers have chunks of the unknown kind ", kind);
    bytes = bytes.subspan(1);
    const std::size_t chunk = std::min(kChunks[kind], count);
    const auto plane = std::make_unique_for_overwrite<std::uint8_t[]>(chunk);
    for (std::size_t begin = 0; begin < count; begin += chunk) {
      const std::span<std::uint8_t> own(plane.get(), std::min(chunk, count - begin));
      decode_chunk(bytes, own);
      for (std::size_t i = 0; i < own.size(); ++i) numbers[(begin + i) * stride + p] = static_cast<std::byte>(own[i]);
    }
  }
  CADDIE_CHECK(bytes.empty(), ErrorKind::data, bytes.size(), " bytes follow the coded numbers");
}

}  // namespace rans
