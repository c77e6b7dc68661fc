// SHA-256 (OpenSSL) for identity, CRC-32C (Castagnoli) for locating damage.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "caddie/export.h"

namespace caddie {

using Digest = std::array<std::byte, 32>;

class CADDIE_API Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> data);
  void update(std::string_view text);
  Digest finish();     // once
  std::string hex();   // finish() as 64 lower-case digits

 private:
  void* context_;
};

CADDIE_API std::string to_hex(std::span<const std::byte> data);
CADDIE_API std::string sha256(std::string_view text);
CADDIE_API std::string sha256(std::span<const std::byte> data);
CADDIE_API std::string sha256_file(const std::filesystem::path& path);
// Continues from `seed`, the result for the bytes before.
CADDIE_API std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed = 0);

}  // namespace caddie
