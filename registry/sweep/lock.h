// Locks that the system releases when the last process that holds them ends, however it ends: flock on an open file
// that children may inherit. They work between the processes of one machine, and on network file systems that carry
// flock.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "caddie/export.h"

namespace caddie::registry {

class CADDIE_API FileLock {
 public:
  // Takes the lock, or nothing if somebody else holds it. Makes the folder and the file. `shared`: together with others
  // that take it so. A child that is started with descriptor() keeps the lock until it ends, whatever becomes of this
  // process; other children do not.
  static std::optional<FileLock> try_take(const std::filesystem::path& path, bool shared = false);
  // Whether somebody holds it now. Makes nothing.
  static bool is_held(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  ~FileLock();  // gives this process's share back

  int descriptor() const { return descriptor_; }
  void write(const std::string& text) const;  // who holds it
  static std::string read(const std::filesystem::path& path);  // empty if nobody wrote

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace caddie::registry
