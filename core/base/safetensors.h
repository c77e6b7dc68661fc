// Files of named tensors in the safetensors format: 8 bytes little-endian header length, a JSON header, raw little-endian
// row-major data. The reader trusts nothing: sizes, offsets, gaps, overlaps and duplicate names are checked before any
// tensor is made. Types: F64 F32 F16 BF16 I64 I32 I16 I8 U8. Tensors may be empty or have no dimension.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "caddie/export.h"
#include "core/base/files.h"

namespace caddie {

class CADDIE_API SafetensorsReader {
 public:
  // Maps the file and checks its header. Throws Error(data) naming the path and what is wrong with which tensor.
  explicit SafetensorsReader(const std::filesystem::path& path);
  ~SafetensorsReader();

  // In the order of their data.
  const std::vector<std::string>& names() const { return names_; }
  bool has(std::string_view name) const;
  at::ScalarType type(std::string_view name) const;                    // throws Error(data) if missing
  const std::vector<std::int64_t>& shape(std::string_view name) const;  // throws Error(data) if missing
  // A copy of its own on the CPU. Throws Error(data) if missing.
  at::Tensor tensor(std::string_view name) const;
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  struct Entry {
    at::ScalarType type;
    std::vector<std::int64_t> shape;
    std::uint64_t begin, end;  // within the data
  };
  const Entry& entry(std::string_view name) const;
  Entry parse_entry(const std::string& name, const Json& value) const;
  void check_layout(std::uint64_t data_bytes);
  [[noreturn]] void refuse(const std::string& why) const;

  std::filesystem::path path_;
  MappedFile file_;
  std::uint64_t data_start_ = 0;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string, std::less<>> metadata_;
  std::vector<std::string> names_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes the tensors (any device, any strides) atomically. The same tensors give the same bytes, whatever their order:
// widest types first, then by name, so that every tensor is aligned. Throws Error(failed) when the disk does not take it.
CADDIE_API void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                                  const std::map<std::string, std::string>& metadata = {});
// All tensors of a file, in the order of their data.
CADDIE_API NamedTensors read_safetensors(const std::filesystem::path& path);

}  // namespace caddie
