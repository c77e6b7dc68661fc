// Files that appear whole or not at all (temporary name, fsync, rename), and reads that name the path when they fail.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie {

// The whole file. Throws Error(data) naming the path and the system's reason.
CADDIE_API std::string read_text(const std::filesystem::path& path);
CADDIE_API std::vector<std::byte> read_bytes(const std::filesystem::path& path);
CADDIE_API Json read_json(const std::filesystem::path& path);

// A file that is written under a temporary name beside its final one. commit() makes it durable and renames it; without
// commit() the destructor removes it. Throws Error(failed) with the system's reason (disk full, read-only, ...).
class CADDIE_API AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> data);
  void write(std::string_view text);
  // Overwrites bytes that were written before, for headers that are known last.
  void write_at(std::uint64_t offset, std::span<const std::byte> data);
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

CADDIE_API void write_atomic(const std::filesystem::path& path, std::string_view text);
CADDIE_API void write_atomic(const std::filesystem::path& path, std::span<const std::byte> data);
CADDIE_API void write_json(const std::filesystem::path& path, const Json& value);  // indented, newline at the end

// Appends one line to a log-like file in one write (ledger.jsonl, metrics.jsonl). A torn last line is possible after a
// crash; read_lines() drops it.
CADDIE_API void append_line(const std::filesystem::path& path, std::string_view line);
CADDIE_API std::vector<Json> read_json_lines(const std::filesystem::path& path);

CADDIE_API void make_directories(const std::filesystem::path& path);
// Read-only view of a file in memory; unmapped by the destructor.
class CADDIE_API MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace caddie
