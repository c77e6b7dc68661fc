#include "registry/sweep/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::registry {

std::optional<FileLock> FileLock::try_take(const std::filesystem::path& path, bool shared) {
  make_directories(path.parent_path());
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0)
    throw Error(ErrorKind::failed, concat("cannot open the lock ", path.string(), ": ", std::strerror(errno)));
  FileLock lock(descriptor);
  while (::flock(descriptor, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return std::nullopt;
    throw Error(ErrorKind::failed, concat("cannot lock ", path.string(), ": ", std::strerror(errno)),
                "The file system does not carry locks (flock); keep the runs on another one.");
  }
  return lock;
}

bool FileLock::is_held(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const FileLock probe(descriptor);
  return ::flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileLock::write(const std::string& text) const {
  if (::ftruncate(descriptor_, 0) != 0) return;  // a courtesy: the lock holds without it
  [[maybe_unused]] const ssize_t n = ::pwrite(descriptor_, text.data(), text.size(), 0);
}

std::string FileLock::read(const std::filesystem::path& path) {
  std::error_code code;
  return std::filesystem::exists(path, code) ? read_text(path) : std::string();
}

}  // namespace caddie::registry
