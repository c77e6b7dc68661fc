// The fixture folders, a temporary folder to rearrange them in, and errors as text.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "caddie/error.h"
#include "core/host/catalogue.h"

namespace caddie::fixture {

inline std::filesystem::path folder(const std::string& name) {
  return std::filesystem::path(CADDIE_FIXTURES) / name;
}
inline std::filesystem::path library(const std::string& where, const std::string& name = "wrong") {
  return std::filesystem::canonical(folder(where) / ("libcaddie_" + name + ".so"));
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "caddie_host_XXXXXX").string();
    path_ = std::filesystem::canonical(mkdtemp(name.data()));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What `action` throws; "nothing was thrown" otherwise.
template <class Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(ErrorKind::failed, std::string("not a caddie::Error: ") + error.what());
  }
  return Error(ErrorKind::failed, "nothing was thrown");
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace caddie::fixture
