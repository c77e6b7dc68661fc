#include "core/data/shards.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>

#include "caddie/error.h"

namespace caddie::data {
namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "shards are little-endian and read in place");

namespace {

constexpr char kHint[] =
    "The file is damaged or not a token shard; fetch or make it again (caddie data verify checks a folder).";

// `size` is of the whole file, `head` its first bytes (at least 1024 if the file has as many). Returns the count.
std::int64_t check_header(const fs::path& path, std::int64_t size, std::span<const std::byte> head) {
  if (size < kShardHeaderBytes)
    throw Error(ErrorKind::data,
                concat("shard ", path.string(), " ends inside its header: ", size, " bytes, expected at least ",
                       kShardHeaderBytes),
                kHint);
  std::array<std::int32_t, 3> header{};
  std::memcpy(header.data(), head.data(), sizeof header);
  if (header[0] != kShardMagic)
    throw Error(ErrorKind::data, concat("shard ", path.string(), " has magic ", header[0], ", expected ", kShardMagic),
                kHint);
  if (header[1] != kShardVersion)
    throw Error(ErrorKind::data,
                concat("shard ", path.string(), " has version ", header[1], ", expected ", kShardVersion), kHint);
  const std::int64_t count = header[2], expected = kShardHeaderBytes + 2 * count;
  if (count < 0)
    throw Error(ErrorKind::data, concat("shard ", path.string(), " claims ", count, " tokens, expected 0 or more"),
                kHint);
  if (size != expected)
    throw Error(ErrorKind::data,
                concat("shard ", path.string(), " has ", size, " bytes, expected ", expected, " for the ", count,
                       " tokens of its header (", size < expected ? "it is cut off" : "it is too long", ")"),
                kHint);
  return count;
}

bool has_wildcard(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

}  // namespace

std::int64_t check_shard(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info{};
  std::array<std::byte, kShardHeaderBytes> head{};
  const bool good =
      descriptor >= 0 && ::fstat(descriptor, &info) == 0 && ::read(descriptor, head.data(), head.size()) >= 0;
  const int code = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!good) throw Error(ErrorKind::data, concat("cannot read shard ", path.string(), ": ", std::strerror(code)));
  return check_header(path, info.st_size, head);
}

Shard::Shard(fs::path path) : path_(std::move(path)), file_(path_) {
  const auto bytes = file_.bytes();
  const std::int64_t count = check_header(path_, static_cast<std::int64_t>(bytes.size()), bytes);
  tokens_ = {reinterpret_cast<const std::uint16_t*>(bytes.data() + kShardHeaderBytes), static_cast<std::size_t>(count)};
}

TokenStream::TokenStream(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) {
    shards_.push_back(std::make_unique<Shard>(path));
    starts_.push_back(size_);
    size_ += static_cast<std::int64_t>(shards_.back()->tokens().size());
  }
  starts_.push_back(size_);
}

template <class T>
void TokenStream::copy_to(std::int64_t first, std::int64_t count, T* out, bool wrap) const {
  CADDIE_ASSERT(first >= 0 && count >= 0 && (count == 0 || size_ > 0));
  if (wrap && size_ > 0)
    first %= size_;
  else
    CADDIE_ASSERT(first + count <= size_);
  while (count > 0) {
    // The shard that holds `first`: the last one that starts at or before it (empty shards are passed over).
    const auto after = std::upper_bound(starts_.begin(), starts_.end() - 1, first);
    const auto shard = static_cast<std::size_t>(after - starts_.begin() - 1);
    const std::int64_t here = std::min(count, starts_[shard + 1] - first);
    const std::uint16_t* from = shards_[shard]->tokens().data() + (first - starts_[shard]);
    std::copy(from, from + here, out);
    out += here;
    count -= here;
    first += here;
    if (first == size_) first = 0;
  }
}

void TokenStream::copy(std::int64_t first, std::int64_t count, std::int64_t* out, bool wrap) const {
  copy_to(first, count, out, wrap);
}
void TokenStream::copy(std::int64_t first, std::int64_t count, std::uint16_t* out, bool wrap) const {
  copy_to(first, count, out, wrap);
}

at::Tensor TokenStream::tensor(std::int64_t first, std::int64_t count) const {
  at::Tensor out = at::empty({count}, at::kLong);
  copy(first, count, out.mutable_data_ptr<std::int64_t>());
  return out;
}

std::int64_t TokenStream::find(std::uint16_t token, std::int64_t from) const {
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    if (starts_[shard + 1] <= from) continue;
    const auto tokens = shards_[shard]->tokens();
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(std::max<std::int64_t>(0, from - starts_[shard]));
    const auto found = std::find(begin, tokens.end(), token);
    if (found != tokens.end()) return starts_[shard] + (found - tokens.begin());
  }
  return size_;
}

std::string TokenStream::locate(std::int64_t position) const {
  if (size_ == 0) return "no tokens";
  position %= size_;
  const auto after = std::upper_bound(starts_.begin(), starts_.end() - 1, position);
  const auto shard = static_cast<std::size_t>(after - starts_.begin() - 1);
  return concat(shards_[shard]->path().string(), ", token ", position - starts_[shard]);
}

std::vector<fs::path> resolve_shards(const std::vector<std::string>& patterns) {
  return resolve_files(patterns, "token shard",
                       "Check data.train and data.validation. caddie data tokenize makes shards from text.");
}

std::vector<fs::path> resolve_files(const std::vector<std::string>& patterns, const std::string& what,
                                    const std::string& hint) {
  std::vector<fs::path> files;
  std::set<std::string> seen;
  for (const std::string& pattern : patterns) {
    std::vector<std::string> matches;
    if (has_wildcard(pattern)) {
      glob_t found{};
      const int code = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
      for (std::size_t i = 0; code == 0 && i < found.gl_pathc; ++i) matches.emplace_back(found.gl_pathv[i]);
      ::globfree(&found);
    } else if (fs::exists(pattern)) {
      matches.push_back(pattern);
    }
    if (matches.empty()) {
      const fs::path folder = fs::path(pattern).has_parent_path() ? fs::path(pattern).parent_path() : fs::path(".");
      const std::string name = fs::path(pattern).filename().string();
      std::error_code code;
      const bool there = fs::is_directory(folder, code);
      throw Error(ErrorKind::data,
                  concat("no ", what, " matches '", name, "' in ", fs::absolute(folder).lexically_normal().string(),
                         there || has_wildcard(folder.string()) ? "" : " (there is no such folder)"),
                  hint);
    }
    // By bytes, whatever the locale: the order of the tokens must not depend on it.
    std::sort(matches.begin(), matches.end());
    for (std::string& match : matches)
      if (seen.insert(fs::absolute(match).lexically_normal().string()).second) files.emplace_back(std::move(match));
  }
  return files;
}

ShardWriter::ShardWriter(const fs::path& path) : file_(path) {
  const std::array<std::byte, kShardHeaderBytes> blank{};
  file_.write(blank);
}

void ShardWriter::append(std::span<const std::uint16_t> tokens) {
  pending_.insert(pending_.end(), tokens.begin(), tokens.end());
  tokens_ += static_cast<std::int64_t>(tokens.size());
  CADDIE_CHECK(tokens_ < (std::int64_t{1} << 31), ErrorKind::usage, "a shard holds at most 2147483647 tokens");
  if (pending_.size() >= (std::size_t{1} << 19)) {
    file_.write(std::as_bytes(std::span(pending_)));
    pending_.clear();
  }
}

void ShardWriter::commit() {
  file_.write(std::as_bytes(std::span(pending_)));
  pending_.clear();
  const std::array<std::int32_t, 3> header{kShardMagic, kShardVersion, static_cast<std::int32_t>(tokens_)};
  file_.write_at(0, std::as_bytes(std::span(header)));
  file_.commit();
}

void write_shard(const fs::path& path, std::span<const std::uint16_t> tokens) {
  ShardWriter writer(path);
  writer.append(tokens);
  writer.commit();
}

}  // namespace caddie::data
