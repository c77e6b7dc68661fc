// Token shards: 256 little-endian int32 (20240520, 1, token count, zeros) and that many little-endian uint16. The file
// is exactly 1024 + 2n bytes. Reading is memory-mapped; a file that is anything else is an Error(data). Reference
// section 1.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/files.h"

namespace caddie::data {

inline constexpr std::int32_t kShardMagic = 20240520;
inline constexpr std::int32_t kShardVersion = 1;
inline constexpr std::int64_t kShardHeaderBytes = 1024;
inline constexpr std::int64_t kFullShardTokens = 100'000'000;

// Checks header and size without reading the tokens; returns the token count.
CADDIE_API std::int64_t check_shard(const std::filesystem::path& path);

class CADDIE_API Shard {
 public:
  explicit Shard(std::filesystem::path path);
  const std::filesystem::path& path() const { return path_; }
  std::span<const std::uint16_t> tokens() const { return tokens_; }

 private:
  std::filesystem::path path_;
  MappedFile file_;
  std::span<const std::uint16_t> tokens_;
};

// Several shards as one stream of tokens, in the given order.
class CADDIE_API TokenStream {
 public:
  explicit TokenStream(const std::vector<std::filesystem::path>& paths);
  std::int64_t size() const { return size_; }
  // Tokens [first, first + count) into `out`; with `wrap` the stream is a ring. Outside the stream: a failed assertion.
  void copy(std::int64_t first, std::int64_t count, std::int64_t* out, bool wrap = false) const;
  void copy(std::int64_t first, std::int64_t count, std::uint16_t* out, bool wrap = false) const;
  // int64 [count].
  at::Tensor tensor(std::int64_t first, std::int64_t count) const;
  // The first position at or after `from` that holds `token`; size() if there is none.
  std::int64_t find(std::uint16_t token, std::int64_t from) const;
  // "file.bin, token 123": where a position is, for messages.
  std::string locate(std::int64_t position) const;
  const std::vector<std::unique_ptr<Shard>>& shards() const { return shards_; }

 private:
  template <class T>
  void copy_to(std::int64_t first, std::int64_t count, T* out, bool wrap) const;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::int64_t> starts_;  // of each shard, and the size
  std::int64_t size_ = 0;
};

// The files that match the patterns (`*` and `?` in the name and in folders), each pattern's in name order, patterns in
// their order, a file only once. Throws Error(data) naming the pattern and the folder where nothing matches; `what` says
// what was looked for ("token shard", "text"), `hint` what to do.
CADDIE_API std::vector<std::filesystem::path> resolve_files(const std::vector<std::string>& patterns,
                                                            const std::string& what, const std::string& hint);
CADDIE_API std::vector<std::filesystem::path> resolve_shards(const std::vector<std::string>& patterns);

// Writes a shard of yet unknown length; it appears under its name with commit().
class CADDIE_API ShardWriter {
 public:
  explicit ShardWriter(const std::filesystem::path& path);
  void append(std::span<const std::uint16_t> tokens);
  std::int64_t tokens() const { return tokens_; }
  void commit();

 private:
  AtomicFile file_;
  std::vector<std::uint16_t> pending_;
  std::int64_t tokens_ = 0;
};
CADDIE_API void write_shard(const std::filesystem::path& path, std::span<const std::uint16_t> tokens);

}  // namespace caddie::data
