// Locks that the system releases when the last process that holds them ends, however it ends: flock on an open file that
// children may inherit. They work between the processes of one machine, and on network file systems that carry flock.
#pragma once

#include <filesystem>
#include <optional>

#include "caddie/export.h"

namespace caddie::registry {

class CADDIE_API FileLock {
 public:
  // Takes the lock, or nothing if somebody else holds it. Makes the folder and the file. With `inherited` a child that is
  // started keeps the lock until it ends, whatever becomes of this process.
  static std::optional<FileLock> try_take(const std::filesystem::path& path, bool inherited = false);
  // Whether somebody holds it now. Makes nothing.
  static bool is_held(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  ~FileLock();  // gives this process's share back

  int descriptor() const { return descriptor_; }
  void write(const std::string& text) const;  // who holds it, for people

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace caddie::registry
