// A lossless compressor of typed blobs. No LibTorch here: such a plugin loads beside any LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/component.h"
#include "caddie/services.h"

namespace caddie {

enum class ElementType : std::uint8_t { int8 = 0, int16 = 1, float16 = 2, bfloat16 = 3, float32 = 4, uint8 = 5 };
CADDIE_API std::size_t element_bytes(ElementType type);

struct BlobShape {
  std::string name;  // of the tensor, with ".codes" or ".steps"; for classification, not needed to read
  ElementType type;
  std::int64_t rows, columns;
  std::size_t bytes() const { return static_cast<std::size_t>(rows * columns) * element_bytes(type); }
};

struct Blob {
  BlobShape shape;
  std::span<const std::byte> data;  // little-endian, row-major, exactly shape.bytes() long
};

struct CompressorContext {
  Services* services;
};

class CADDIE_API Compressor {
 public:
  virtual ~Compressor();
  // All blobs of an artifact in container order -> one payload. The same input gives the same bytes on any number of
  // threads.
  virtual std::vector<std::byte> compress(std::span<const Blob> blobs) = 0;
  // The inverse. `outputs[i]` is exactly shapes[i].bytes() long and must be filled; a payload that holds less, more or
  // anything else is an Error(data). The payload is hostile: never read or write outside the given spans.
  virtual void decompress(std::span<const std::byte> payload, std::span<const BlobShape> shapes,
                          std::span<const std::span<std::byte>> outputs) = 0;
  // Expected payload bytes for `raw_bytes` of entropy `entropy_bytes`, for predictions.
  virtual double expected_bytes(double raw_bytes, double entropy_bytes) const = 0;
};

template <class T>
constexpr Component compressor_component(const char* name, const char* summary, std::uint32_t behaviour_version,
                                         std::span<const OptionSpec> options) {
  return make_component<Compressor, T, CompressorContext>(PluginKind::compressor, name, summary, behaviour_version,
                                                          options.data(), options.size());
}

}  // namespace caddie
