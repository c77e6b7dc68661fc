// A folder for one test, and small helpers of the data tests.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "caddie/error.h"
#include "caddie/state.h"
#include "core/base/files.h"

namespace caddie::data {

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "caddie-data-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The error that an action throws; a failed test if it throws none.
template <class Action>
Error error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  throw std::runtime_error("no error was thrown");
}

// Numbers of a checkpoint, in memory.
class Numbers : public StateWriter, public StateReader {
 public:
  void tensor(std::string_view name, const at::Tensor& value) override { tensors_[std::string(name)] = value; }
  void number(std::string_view name, double value) override { values_[std::string(name)] = value; }
  at::Tensor tensor(std::string_view name) const override { return tensors_.at(std::string(name)); }
  double number(std::string_view name) const override { return values_.at(std::string(name)); }

 private:
  std::map<std::string, double> values_;
  std::map<std::string, at::Tensor> tensors_;
};

// Every file of a folder and its content.
inline std::map<std::string, std::string> contents(const std::filesystem::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file()) out[entry.path().filename().string()] = read_text(entry.path());
  return out;
}

}  // namespace caddie::data
