// How tensors lie in an artifact: records (one a name template, a layer range, a shape and an encoding), and the blobs
// that follow from them. Shared by the writing and the reading half of the container; no values here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "caddie/compressor.h"
#include "core/artifact/byte_io.h"
#include "core/artifact/quantized_model.h"

namespace caddie::artifact {

// "blocks.{}.mlp.up.weight" for layers first .. first + count - 1, or one plain name (count 0).
struct Record {
  std::string name;
  std::uint64_t first_layer = 0, layers = 0;
  Role role = Role::matrix;
  Encoding encoding = Encoding::plain;
  bool round_bfloat16 = false;
  int bits = 0;
  ElementType type = ElementType::float32;  // of the values (plain); codes are int8, steps float16
  std::int64_t groups = 1;                  // steps of a row
  std::int64_t rank = 0;                    // of the low-rank part; 0: none
  bool rank_int8 = false;                   // its factors are int8 with steps, else float16
  std::vector<std::int64_t> shape;

  std::string tensor_name(std::uint64_t index) const;
  std::uint64_t tensors() const { return layers ? layers : 1; }
};

constexpr std::uint64_t kMaxTensors = 65536, kMaxDimension = (std::uint64_t{1} << 31) - 1, kMaxRank = 8;

struct Layout {
  std::vector<Record> records;
  // Indices into the tensors given to make_layout, in the order of the records. Empty after reading.
  std::vector<std::size_t> order;
};

// Throws Error(data) for names that cannot be stored, duplicates and types without an encoding.
Layout make_layout(std::span<const StoredTensor> tensors);
void write_layout(const Layout& layout, ByteWriter& writer);
// Everything is checked; the tensors' sizes add up to at most `decoded_limit` bytes.
Layout read_layout(ByteReader& reader, std::uint64_t decoded_limit);

// The tensors of a layout without values, in the layout's order.
std::vector<StoredTensor> empty_tensors(const Layout& layout);

// One blob of the payload: a part of a tensor; the codes of a plain one are its values.
struct BlobPlace {
  std::size_t tensor;  // index in the layout's order
  Part part;
  BlobShape shape;
};
// In payload order: all codes, all steps, low-rank parts, then values by type. Equal statistics lie together.
std::vector<BlobPlace> blob_places(const Layout& layout);

}  // namespace caddie::artifact
