// The state of stateful components as a dictionary: in memory, to undo the warm-up steps, or on its way to and from a
// file. Numbers are kept as float64, so nothing is rounded.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "caddie/state.h"

namespace caddie::train {

class CADDIE_API StateDictionary final : public StateWriter, public StateReader {
 public:
  enum class Keep {
    copies,      // tensors are cloned where they are: a snapshot
    references,  // tensors are shared: for writing to a file at once
  };
  explicit StateDictionary(Keep keep);
  ~StateDictionary() override;

  void tensor(std::string_view name, const at::Tensor& value) override;
  void number(std::string_view name, double value) override;
  at::Tensor tensor(std::string_view name) const override;
  double number(std::string_view name) const override;

  // A safetensors file, written atomically; numbers are float64 tensors named "number:NAME".
  void write(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata) const;
  static StateDictionary read(const std::filesystem::path& path);

 private:
  void add(std::string_view name, at::Tensor value);
  Keep keep_;
  std::map<std::string, at::Tensor, std::less<>> tensors_;
  std::map<std::string, double, std::less<>> numbers_;
};

// The same writer or reader with "PREFIX/" before every name, for a component within a whole.
class CADDIE_API ScopedWriter final : public StateWriter {
 public:
  ScopedWriter(StateWriter& inner, std::string prefix);
  ~ScopedWriter() override;
  void tensor(std::string_view name, const at::Tensor& value) override;
  void number(std::string_view name, double value) override;

 private:
  StateWriter& inner_;
  std::string prefix_;
};

class CADDIE_API ScopedReader final : public StateReader {
 public:
  ScopedReader(const StateReader& inner, std::string prefix);
  ~ScopedReader() override;
  at::Tensor tensor(std::string_view name) const override;
  double number(std::string_view name) const override;

 private:
  const StateReader& inner_;
  std::string prefix_;
};

// Copies a saved tensor into `target`. Throws Error(data) if type or shape differ.
CADDIE_API void restore_tensor(const StateReader& reader, const std::string& name, at::Tensor& target);

}  // namespace caddie::train
