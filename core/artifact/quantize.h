// The quantize driver: a manifest's `quantize` section, a model and quantizers -> a quantized model (reference section
// 4).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "caddie/model.h"
#include "caddie/quantizer.h"
#include "core/artifact/calibration.h"
#include "core/artifact/quantized_model.h"
#include "core/base/json.h"

namespace caddie::artifact {

struct QuantizeSettings {
  CalibrateSettings calibrate;
  // Tensors of at most so many elements are kept: vectors in float32, the others in float16.
  std::int64_t keep_float_elements = 65536;
  // The reference's double quantization: calibrated quantizers see every matrix that their entry matches, small ones
  // too, and what they decode to is exported as if it were the weights: rounded per row once more, small ones to
  // float16.
  bool requantize = false;
  std::vector<Json> tensors;  // entries {match, use, options...}
  CADDIE_API static QuantizeSettings from_json(const Json& section);
};

// Creates the quantizer of an entry of `tensors`.
using QuantizerFactory = std::function<std::shared_ptr<Quantizer>(const Json& entry)>;

// For each parameter the index of its entry in `settings.tensors`, or nullopt for one that is kept in float (a small
// one may have an entry with `requantize`). Vectors are kept whatever their size unless an entry says `match: vector`.
// Throws Error(usage) for a parameter that no entry or two match, and for an entry that matches nothing at all.
CADDIE_API std::vector<std::optional<std::size_t>> assign_quantizers(std::span<const Parameter> parameters,
                                                                     const QuantizeSettings& settings);

// What a calibration needs from outside.
struct CalibrationInputs {
  std::int64_t vocabulary = 0;
  std::uint64_t seed = 0;
  // Training tokens [sequences, length]; needed for `source: train` only.
  std::function<at::Tensor(std::int64_t sequences, std::int64_t length)> train_tokens;
};

struct QuantizeTimes {
  double tokens_seconds = 0, hessians_seconds = 0, quantize_seconds = 0;
};

// The calibration tokens [sequences, length] that the settings ask for.
CADDIE_API at::Tensor calibration_tokens(Model& model, const CalibrateSettings& settings,
                                         const CalibrationInputs& inputs);

// Quantizes every parameter of the model. `calibration` are token batches [B, T]; read only if some quantizer needs
// them. Steps come out in float16: codes are made with the quantizer's own step, decoding uses the stored one.
CADDIE_API QuantizedModel quantize_model(Model& model, const QuantizeSettings& settings,
                                         const QuantizerFactory& factory,
                                         const std::function<std::vector<at::Tensor>()>& calibration,
                                         QuantizeTimes* times = nullptr);
// The same with tokens as the settings say.
CADDIE_API QuantizedModel quantize_model(Model& model, const QuantizeSettings& settings,
                                         const QuantizerFactory& factory, const CalibrationInputs& inputs,
                                         QuantizeTimes* times = nullptr);

// The parts, for checks.
// A quantizer's result as it is stored: on the CPU, contiguous, steps rounded to float16.
CADDIE_API QuantizedTensor as_stored(const QuantizedTensor& tensor);
// The second rounding of `requantize`: the decoded rows (with the quantizer's own steps) get new steps and codes.
CADDIE_API QuantizedTensor requantize_rows(const QuantizedTensor& tensor, int bits);
// trace(E H E^T), E = decoded - weight [R, C], H [C, C]: what GPTQ minimises, in float64.
CADDIE_API double quadratic_objective(const at::Tensor& decoded, const at::Tensor& weight, const at::Tensor& hessian);

}  // namespace caddie::artifact
