#include "core/data/pull/hub_cache.h"

#include <unistd.h>

#include <algorithm>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

bool is_hex(const std::string& text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A branch may be called "a/b": it must not become a folder outside refs.
bool safe(const fs::path& path) {
  return !path.empty() && path.is_relative() &&
         std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".." || part == "."; });
}

}  // namespace

bool is_commit(const std::string& text) { return is_hex(text, 40); }

RemoteFile checked_file(std::string path, std::int64_t size, std::string oid, std::string sha256) {
  CADDIE_CHECK(safe(path) && path.find('\\') == std::string::npos && path.find('\0') == std::string::npos,
               ErrorKind::data, "the repository lists a file '", path, "', which is no path inside it");
  CADDIE_CHECK(size >= 0 && is_hex(oid, 40) && (sha256.empty() || is_hex(sha256, 64)), ErrorKind::data,
               "the repository lists '", path, "' with ", size, " bytes and the hashes '", oid, "' and '", sha256,
               "', expected 40 and 64 hexadecimal digits");
  return {std::move(path), size, std::move(oid), std::move(sha256)};
}

HubCache::HubCache(const fs::path& root, const std::string& repository) {
  std::string name = repository;
  if (const std::size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  folder_ = root / ("datasets--" + name);
}

std::optional<std::string> HubCache::commit(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const fs::path file = folder_ / "refs" / revision;
  std::error_code code;
  if (!safe(revision) || !fs::is_regular_file(file, code)) return std::nullopt;
  std::string text = read_text(file);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (!is_commit(text)) return std::nullopt;
  return text;
}

void HubCache::save_commit(const std::string& revision, const std::string& commit) const {
  if (is_commit(revision) || !safe(revision)) return;
  const fs::path file = folder_ / "refs" / revision;
  make_directories(file.parent_path());
  write_atomic(file, commit);
}

std::optional<std::vector<RemoteFile>> HubCache::tree(const std::string& commit) const {
  const fs::path file = folder_ / "trees" / (commit + ".json");
  std::error_code code;
  if (!fs::exists(file, code)) return std::nullopt;
  std::vector<RemoteFile> files;
  try {
    const Json listed = read_json(file);
    for (const auto& [path, entry] : listed.at("files").items()) {
      const Json sha256 = entry.value("lfs_sha256", Json());
      files.push_back(checked_file(path, entry.at("size").get<std::int64_t>(), entry.at("blob_id").get<std::string>(),
                                   sha256.is_string() ? sha256.get<std::string>() : std::string()));
    }
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat(file.string(), " is not a list of files: ", error.what()),
                "Remove it; the next caddie data pull asks again.");
  }
  return files;
}

void HubCache::save_tree(const std::string& commit, const std::vector<RemoteFile>& files) const {
  Json listed = Json::object();
  for (const RemoteFile& file : files) {
    const bool large = !file.sha256.empty();
    listed[file.path] = {{"size", file.size},
                         {"blob_id", file.oid},
                         {"lfs_sha256", large ? Json(file.sha256) : Json()},
                         {"lfs_size", large ? Json(file.size) : Json()},
                         {"xet_hash", nullptr}};
  }
  make_directories(folder_ / "trees");
  write_json(folder_ / "trees" / (commit + ".json"), {{"format_version", 1}, {"files", listed}});
}

fs::path HubCache::snapshot(const std::string& commit, const RemoteFile& file) const {
  return folder_ / "snapshots" / commit / file.path;
}

bool HubCache::has(const std::string& commit, const RemoteFile& file) const {
  std::error_code code;
  const auto size = fs::file_size(snapshot(commit, file), code);
  return !code && size == static_cast<std::uintmax_t>(file.size);
}

// The link is renamed to its place: another process that gets the same files must never find it gone.
void HubCache::link(const std::string& commit, const RemoteFile& file) const {
  const fs::path place = snapshot(commit, file);
  make_directories(place.parent_path());
  std::error_code code;
  const fs::path target = blob(file).lexically_relative(place.parent_path());
  if (fs::is_symlink(place, code) && fs::read_symlink(place, code) == target) return;
  fs::path temporary = place;
  temporary += ".caddie-" + std::to_string(::getpid()) + ".tmp";
  fs::remove(temporary, code);
  fs::create_symlink(target, temporary, code);
  if (code) fs::copy_file(blob(file), temporary, fs::copy_options::overwrite_existing, code);
  if (!code) fs::rename(temporary, place, code);
  if (code) throw Error(ErrorKind::failed, concat("cannot write ", place.string(), ": ", code.message()));
}

}  // namespace caddie::data
