#include "registry/query/cache_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <optional>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

// An exclusive lock that is taken at once or not at all.
class TryLock {
 public:
  explicit TryLock(const fs::path& file) : descriptor_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
    missing_ = descriptor_ < 0 && errno == ENOENT;
    held_ = descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
  }
  ~TryLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  TryLock(const TryLock&) = delete;
  TryLock& operator=(const TryLock&) = delete;
  bool free() const { return held_ || missing_; }

 private:
  int descriptor_;
  bool held_ = false, missing_ = false;
};

bool in_use(const fs::path& root, const CacheItem& item) {
  const TryLock computing(root / "locks" / item.key), reading(item.folder / "entry.json");
  return !computing.free() || !reading.free();
}

bool removed(const fs::path& root, const CacheItem& item) {
  const TryLock computing(root / "locks" / item.key), reading(item.folder / "entry.json");
  if (!computing.free() || !reading.free()) return false;
  // Out of the way first: a run that looks for it finds all of it or nothing.
  const fs::path away = item.folder.parent_path() / concat(".tmp.gc.", item.key.substr(0, 16), ".", ::getpid());
  std::error_code code;
  fs::rename(item.folder, away, code);
  if (code) return false;
  fs::remove_all(away, code);
  return true;
}

std::int64_t bytes_of(const fs::path& folder) {
  std::int64_t bytes = 0;
  std::error_code code;
  for (auto item = fs::recursive_directory_iterator(folder, code); !code && item != fs::recursive_directory_iterator();
       item.increment(code)) {
    std::error_code ignored;
    if (item->is_regular_file(ignored)) bytes += static_cast<std::int64_t>(item->file_size(ignored));
  }
  return bytes;
}

bool process_is_gone(const std::string& temporary) {
  const std::string number = temporary.substr(temporary.rfind('.') + 1);
  std::int64_t process = 0;
  const auto end = number.data() + number.size();
  if (std::from_chars(number.data(), end, process).ptr != end || process <= 0) return false;
  return ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH;
}

template <class Visit>
void each_folder(const fs::path& root, Visit visit) {
  std::error_code code;
  for (const char* stage : {"data", "train", "quantize", "compress", "evaluate", "ttt"})
    for (const auto& shelf : fs::directory_iterator(root / stage, code)) {
      std::error_code ignored;
      if (!shelf.is_directory(ignored)) continue;
      for (const auto& item : fs::directory_iterator(shelf.path(), ignored))
        if (item.is_directory(ignored)) visit(std::string(stage), item.path());
    }
}

}  // namespace

std::vector<CacheItem> cache_items(const fs::path& root) {
  std::vector<CacheItem> items;
  each_folder(root, [&](const std::string& stage, const fs::path& folder) {
    CacheItem item{stage, folder.filename().string(), folder, 0, 0, 0, false};
    struct stat facts {};
    if (item.key.starts_with(".") || ::stat((folder / "entry.json").c_str(), &facts) != 0) return;
    item.last_used = facts.st_mtim.tv_sec;
    item.bytes = bytes_of(folder);
    try {
      item.seconds = read_json(folder / "entry.json").value("seconds", 0.0);
    } catch (const std::exception&) {  // damaged: it is a miss to every run, and may go like another
    }
    item.in_use = in_use(root, item);
    items.push_back(std::move(item));
  });
  std::sort(items.begin(), items.end(), [](const CacheItem& a, const CacheItem& b) {
    return a.last_used != b.last_used ? a.last_used < b.last_used : a.key < b.key;
  });
  return items;
}

Collected collect_cache(const fs::path& root, const CollectOptions& options) {
  Collected done;
  const auto items = cache_items(root);
  for (const CacheItem& item : items) done.bytes_before += item.bytes;
  done.bytes_after = done.bytes_before;
  const auto now = static_cast<double>(std::time(nullptr));
  for (const CacheItem& item : items) {
    if (options.max_bytes >= 0 && done.bytes_after <= options.max_bytes) break;
    if (options.max_bytes < 0 && options.older_than_seconds <= 0) break;
    if (now - static_cast<double>(item.last_used) < options.older_than_seconds) break;  // the rest is younger
    if (item.in_use || (!options.dry_run && !removed(root, item))) {
      done.kept_in_use.push_back(item);
      continue;
    }
    done.bytes_after -= item.bytes;
    done.removed.push_back(item);
  }
  if (!options.dry_run) {
    std::vector<fs::path> left;
    each_folder(root, [&](const std::string&, const fs::path& folder) {
      const std::string name = folder.filename().string();
      if (name.starts_with(".tmp.") && process_is_gone(name)) left.push_back(folder);
    });
    std::error_code ignored;
    for (const fs::path& folder : left) fs::remove_all(folder, ignored);
  }
  return done;
}

namespace {

// The number in front, and what follows it.
std::optional<std::pair<double, std::string>> number_and_unit(const std::string& text) {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc{} || !(value >= 0)) return std::nullopt;
  std::string unit(result.ptr, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' '));
  return std::pair{value, unit};
}

}  // namespace

std::int64_t parse_size(const std::string& text) {
  static const std::vector<std::pair<std::string, double>> units = {{"", 1},
                                                                    {"B", 1},
                                                                    {"K", 1e3},
                                                                    {"KB", 1e3},
                                                                    {"KiB", 1024},
                                                                    {"M", 1e6},
                                                                    {"MB", 1e6},
                                                                    {"MiB", 1048576},
                                                                    {"G", 1e9},
                                                                    {"GB", 1e9},
                                                                    {"GiB", 1073741824},
                                                                    {"T", 1e12},
                                                                    {"TB", 1e12},
                                                                    {"TiB", 1099511627776}};
  if (const auto parts = number_and_unit(text))
    for (const auto& [unit, bytes] : units)
      if (unit == parts->second && parts->first * bytes < 9e18) return static_cast<std::int64_t>(parts->first * bytes);
  throw Error(ErrorKind::usage, concat("'", text, "' is no size"),
              "accepted: bytes, or a number with K, M, G, T (10^3 ...), KiB, MiB, GiB, TiB");
}

double parse_age(const std::string& text) {
  static const std::vector<std::pair<std::string, double>> units = {
      {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
  if (const auto parts = number_and_unit(text))
    for (const auto& [unit, seconds] : units)
      if (unit == parts->second) return parts->first * seconds;
  throw Error(ErrorKind::usage, concat("'", text, "' is no age"), "accepted: a number with s, m, h, d or w: 12h, 30d");
}

}  // namespace caddie::registry
