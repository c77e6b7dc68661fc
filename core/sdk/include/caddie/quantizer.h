// A quantizer turns weights into codes and steps. Both are final: nothing derives a scale again (reference section 7,
// "quantized once"). Decoding is core's alone, so an artifact is read without any quantizer.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "caddie/code_entropy.h"
#include "caddie/component.h"
#include "caddie/services.h"

namespace caddie {

// How a tensor is stored, and decoded by core/artifact:
//   row_codes: value[r, c] = float(code[r, c]) * float(step[r]), or step[r, c / width] where each row has several steps
//   plain: `codes` holds the values themselves in float16, bfloat16 or float32.
enum class Encoding { row_codes, plain };

// An optional correction of rank k, added to the decoded codes: left^T right (LQER, arXiv 2402.02446).
struct LowRank {
  at::Tensor left, right;              // [k, R] and [k, C], both float16 or both int8 codes; undefined: none
  at::Tensor left_steps, right_steps;  // of int8 codes: float16 or float32 [k]
};

struct QuantizedTensor {
  Encoding encoding;
  at::Tensor codes;             // row_codes: int8 [R, C]; plain: the values, any shape
  // row_codes: float16 or float32 [R], or [R, G] with G groups of width = ceil(C / G) columns, the last one narrower
  // if need be, none empty (G = ceil(C / width)); plain: undefined
  at::Tensor steps;
  int bits = 0;                 // of the codes, for reports; 0 for plain
  bool round_bfloat16 = false;  // decoded values are rounded to bfloat16 (a bf16 embedding, reference section 4)
  std::string note;             // what the person should know: "damping 0.1", "kept: no damping worked"
  LowRank low_rank = {};        // row_codes only
};

// Float32 values on the codes' device, with the steps as they are (core/artifact decodes with float16 ones). Products and
// sums are rounded one by one, so that every machine gives the same bits.
CADDIE_API at::Tensor decoded_value(const QuantizedTensor& tensor);

// Second moments of a linear map's inputs, shared by all weights that have this input.
class CADDIE_API Calibration {
 public:
  virtual ~Calibration();
  // Sum over batches of X^T X, divided by the number of batches: float32 [C, C], on the weights' device.
  virtual at::Tensor hessian() const = 0;
};

struct Weight {
  std::string name;
  at::Tensor value;  // float32 [R, C] (or any shape for plain encodings), detached
};

// Weights that share one input, in the model's order (q, k and v come together).
struct WeightGroup {
  std::vector<Weight> weights;
  const Calibration* calibration;  // null if it is not needed
};

struct QuantizerContext {
  Services* services;
};

class CADDIE_API Quantizer {
 public:
  virtual ~Quantizer();
  // Whether quantize() reads the calibration. If not, none is made for these weights.
  virtual bool needs_calibration() const = 0;
  // One group (see WeightGroup). Returns one result a weight.
  virtual std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration* calibration) = 0;
  // Several groups at once, for quantizers that work on many matrices together. One by one if it is not overridden.
  virtual std::vector<std::vector<QuantizedTensor>> quantize_groups(std::span<const WeightGroup> groups);
  // Expected size of one tensor [rows, columns] of Gaussian weights, its steps included, for predictions.
  virtual ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const = 0;
};

template <class T>
constexpr Component quantizer_component(const char* name, const char* summary, std::uint32_t behaviour_version,
                                        std::span<const OptionSpec> options) {
  return make_component<Quantizer, T, QuantizerContext>(PluginKind::quantizer, name, summary, behaviour_version,
                                                        options.data(), options.size());
}

}  // namespace caddie
