// Frequencies of symbols in 4096ths: counted, fitted, stored and read, and laid out for the decoder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rans {

using Counts = std::array<std::uint32_t, 256>;       // of bytes; a code is its two's complement
using Frequencies = std::array<std::uint16_t, 256>;  // they add up to 4096, none is 4096

// Every counted symbol gets at least 1. Symmetric: a code and its negative get the same, so that half has to be stored.
Frequencies fit(const Counts& counts, bool symmetric);
// Bits that the counted symbols take.
double cost_bits(const Counts& counts, const Frequencies& frequencies);

// Bits, lowest first.
class BitWriter {
 public:
  void put(std::uint32_t value, int count);
  std::vector<std::byte> finish();

 private:
  std::vector<std::byte> bytes_;
  std::uint64_t held_ = 0;
  int count_ = 0;
};
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::uint32_t get(int count);  // throws Error(data) beyond the end
  std::size_t bytes_read() const { return position_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  std::uint64_t held_ = 0;
  int count_ = 0;
};

void write(const Frequencies& frequencies, bool symmetric, BitWriter& to);
// Throws Error(data) unless they add up.
Frequencies read(bool symmetric, BitReader& from);

// 4096 entries: what a state's low 12 bits mean. symbol << 24 | frequency << 12 | (slot - first slot of the symbol).
void lay_out(const Frequencies& frequencies, std::uint32_t* entries);

}  // namespace rans
