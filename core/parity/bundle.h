// A golden bundle on disk: what to compute, from which tensors, and what must come out. It is checked whole when it is
// opened, so that a check never stumbles over the file; it computes nothing. Format: tests/golden/README.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/base/safetensors.h"

namespace caddie::parity {

struct CADDIE_API CheckSpec {
  std::string id, kind;
  Json settings;                                // an object
  std::map<std::string, std::string> inputs;    // argument -> tensor, or a prefix of tensors ("initial/")
  std::map<std::string, Json> expect;           // output -> expected value with its tolerance (compare.h)
  bool optional() const;
};

struct ParameterSpec {
  std::string name, role;
  std::vector<std::int64_t> shape;
  // A model of one block has no skips: the bundle lists their weights without a row, the program has no such parameter.
  bool empty() const { return std::find(shape.begin(), shape.end(), 0) != shape.end(); }
};

class CADDIE_API Bundle {
 public:
  // `tokenizers`: where tokenizers lie that the bundle does not hold itself. Throws Error(data) naming the file and the
  // place in it for a folder that is no bundle of format version 1.
  Bundle(std::filesystem::path folder, std::filesystem::path tokenizers);

  const std::filesystem::path& folder() const { return folder_; }
  const std::string& name() const { return name_; }
  const Json& config() const { return config_; }
  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  const std::vector<CheckSpec>& checks() const { return checks_; }

  // A copy of a tensor, on the CPU, in its stored type. Throws Error(data) if the bundle lacks it.
  at::Tensor tensor(std::string_view key) const { return tensors_.tensor(key); }
  // The parameters `prefix` + name, float32, in the bundle's order; empty ones are left out.
  NamedTensors parameters_of(const std::string& prefix) const;
  // The model file of a tokenizer, in the bundle or among the shared ones. Throws Error(data) if it is missing or not
  // the one that the bundle was made with.
  std::filesystem::path tokenizer(const std::string& label) const;

 private:
  void read_parameters(const Json& list);
  void read_check(const Json& entry, std::size_t number);
  void check_input(const CheckSpec& check, const std::string& name, const std::string& key) const;
  void check_expected(const CheckSpec& check, const std::string& name, const Json& expected) const;
  [[noreturn]] void refuse(const std::string& why) const;

  std::filesystem::path folder_, tokenizers_folder_;
  std::string name_;
  Json config_, tokenizers_;
  std::vector<ParameterSpec> parameters_;
  std::vector<CheckSpec> checks_;
  SafetensorsReader tensors_;
};

}  // namespace caddie::parity
