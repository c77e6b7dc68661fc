#include "core/pipeline/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

// A lock that the system releases when the process ends, however it ends.
class KeyLock {
 public:
  KeyLock(const fs::path& path, const std::string& stage) {
    make_directories(path.parent_path());
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0)
      throw Error(ErrorKind::failed, concat("cannot write the stage cache: ", path.string(), ": ", std::strerror(errno)),
                  "Choose another folder with --cache DIR.");
    bool said = false;
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      throw_if_interrupted();
      if (!said) log::info("waiting for another run that computes the same stage: " + stage);
      said = true;
      ::usleep(100000);
    }
  }
  ~KeyLock() { ::close(descriptor_); }
  KeyLock(const KeyLock&) = delete;
  KeyLock& operator=(const KeyLock&) = delete;

 private:
  int descriptor_ = -1;
};

// What this process reads, or made, must stay until it ends: one process is one run. Collecting garbage passes over
// entries whose entry.json is locked, and takes the least recently used first, by that file's time.
class Use {
 public:
  // Takes a shared lock and renews the time. Nothing happens if the entry is not there.
  explicit Use(const fs::path& folder) : descriptor_(::open((folder / "entry.json").c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) return;
    while (::flock(descriptor_, LOCK_SH) != 0 && errno == EINTR) throw_if_interrupted();
    ::futimens(descriptor_, nullptr);  // without write permission the old time stays
  }
  ~Use() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  void keep() { descriptor_ = -1; }  // the system releases it with the process

 private:
  int descriptor_;
};

// Removes a temporary folder unless it was renamed.
struct TemporaryFolder {
  fs::path path;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
};

Json list_files(const fs::path& folder) {
  Json files = Json::object();
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    if (!item.is_regular_file()) continue;
    files[fs::relative(item.path(), folder).string()] = {{"bytes", item.file_size()},
                                                         {"sha256", sha256_file(item.path())}};
  }
  return files;
}

// Throws if the entry is not what it says.
CacheEntry read_entry(const fs::path& folder, const StageKey& key) {
  const Json entry = read_json(folder / "entry.json");
  CADDIE_CHECK(entry.at("key") == key.hash(), ErrorKind::data, "entry.json belongs to another key");
  for (const auto& [name, facts] : entry.at("files").items()) {
    const fs::path path = folder / name;
    CADDIE_CHECK(fs::exists(path), ErrorKind::data, name, " is missing");
    CADDIE_CHECK(fs::file_size(path) == facts.at("bytes").get<std::uintmax_t>(), ErrorKind::data, name, " has ",
                 fs::file_size(path), " bytes, ", facts.at("bytes").dump(), " were written");
    CADDIE_CHECK(sha256_file(path) == facts.at("sha256").get<std::string>(), ErrorKind::data, name,
                 " does not have the content that was written");
  }
  return {folder, entry.at("outputs"), entry.at("seconds").get<double>(), entry.value("run", std::string())};
}

}  // namespace

std::string StageKey::hash() const { return sha256(canonical(Json{{"stage", stage}, {"key", ingredients}})); }

StageCache::StageCache(fs::path root) : root_(fs::absolute(root)) {}

fs::path StageCache::default_root() {
  if (const char* root = std::getenv("CADDIE_CACHE"); root != nullptr && *root != '\0') return root;
  if (const char* base = std::getenv("XDG_CACHE_HOME"); base != nullptr && *base != '\0') return fs::path(base) / "caddie";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return fs::path(home) / ".cache/caddie";
  return ".cache/caddie";
}

fs::path StageCache::folder_of(const StageKey& key) const {
  const std::string hash = key.hash();
  return root_ / key.stage / hash.substr(0, 2) / hash;
}

std::optional<CacheEntry> StageCache::find(const StageKey& key) const {
  const fs::path folder = folder_of(key);
  std::error_code code;
  if (!fs::exists(folder, code)) return std::nullopt;
  try {
    return read_entry(folder, key);
  } catch (const std::exception& error) {
    log::warning(concat("a cache entry of the stage ", key.stage, " is damaged and is dropped: ", folder.string(), ": ",
                        error.what()));
    fs::remove_all(folder, code);
    return std::nullopt;
  }
}

CacheEntry StageCache::get(const StageKey& key, bool ignore_existing,
                           const std::function<Json(const fs::path&)>& compute, bool& hit) {
  hit = false;
  const auto use_existing = [&]() -> std::optional<CacheEntry> {
    if (ignore_existing) return std::nullopt;
    Use use(folder_of(key));  // before it is read: nobody takes it away then
    auto entry = find(key);
    hit = entry.has_value();
    if (hit) use.keep();
    return entry;
  };
  if (auto entry = use_existing()) return *entry;
  const KeyLock lock(root_ / "locks" / key.hash(), key.stage);
  if (auto entry = use_existing()) return *entry;  // another run was faster

  const fs::path folder = folder_of(key);
  TemporaryFolder temporary{folder.parent_path() / concat(".tmp.", key.hash().substr(0, 16), ".", ::getpid())};
  std::error_code ignored;
  fs::remove_all(temporary.path, ignored);
  make_directories(temporary.path);
  const Stopwatch watch;
  const Json outputs = compute(temporary.path);
  const double seconds = watch.seconds();
  write_json(temporary.path / "entry.json", {{"stage", key.stage},
                                             {"key", key.hash()},
                                             {"ingredients", key.ingredients},
                                             {"files", list_files(temporary.path)},
                                             {"outputs", outputs},
                                             {"seconds", seconds},
                                             {"run", run_},
                                             {"written", utc_timestamp()}});
  fs::remove_all(folder, ignored);
  std::error_code code;
  fs::rename(temporary.path, folder, code);
  if (code)
    throw Error(ErrorKind::failed, concat("cannot write the stage cache: ", folder.string(), ": ", code.message()));
  temporary.path.clear();
  Use(folder).keep();
  return {folder, outputs, seconds, run_};
}

}  // namespace caddie::pipeline
