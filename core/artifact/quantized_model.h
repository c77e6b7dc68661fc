// A quantized model in memory: what the quantize stage makes, what an artifact holds, and the one way to decode it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "caddie/model.h"
#include "caddie/quantizer.h"

namespace caddie::artifact {

struct StoredTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  Role role = Role::matrix;
  QuantizedTensor data;  // CPU, contiguous; steps float16
  // Reports only; an artifact does not hold them.
  std::string quantizer;      // "gptq", or "float16" and "float32" for small tensors
  double relative_error = 0;  // |decoded - weight| / |weight|, Frobenius
};

struct QuantizedModel {
  std::vector<StoredTensor> tensors;  // in the model's order
  std::vector<std::string> notes;     // what a person should know
};

// The tensors that a QuantizedTensor may consist of.
enum class Part { codes, steps, low_rank_left, low_rank_right, low_rank_left_steps, low_rank_right_steps };
inline constexpr Part kParts[] = {Part::codes,          Part::steps,
                                  Part::low_rank_left,  Part::low_rank_right,
                                  Part::low_rank_left_steps, Part::low_rank_right_steps};
CADDIE_API at::Tensor& part_of(QuantizedTensor& tensor, Part part);  // undefined where the tensor has none
CADDIE_API const at::Tensor& part_of(const QuantizedTensor& tensor, Part part);
CADDIE_API const char* part_name(Part part);  // "codes", "low_rank_left", ...
CADDIE_API std::int64_t part_bytes(const QuantizedTensor& tensor);

using NamedWeights = std::vector<std::pair<std::string, at::Tensor>>;

// decoded_value(), the only decoder in the program, of tensors as they are stored.
CADDIE_API at::Tensor decode(const QuantizedTensor& tensor);
CADDIE_API NamedWeights decode(std::span<const StoredTensor> tensors);
// SHA-256 over names, shapes and float32 bytes, in the order of names: the identity of what is scored, the same however
// the weights were encoded, ordered and compressed.
CADDIE_API std::string weights_hash(const NamedWeights& weights);
// Writes the weights into the model's parameters (every parameter exactly once, same shapes) and prepares it for
// evaluation. Throws Error(data) naming the first parameter that does not fit.
CADDIE_API void load_weights(Model& model, const NamedWeights& weights);

}  // namespace caddie::artifact
