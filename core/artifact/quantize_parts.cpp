// The parts of quantization that checks call too: calibration tokens, how a result is stored, the second rounding, what
// GPTQ minimises (reference sections 4 and 7). The driver is quantize.cpp.
#include <ATen/core/grad_mode.h>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/artifact/quantize.h"

namespace caddie::artifact {

at::Tensor calibration_tokens(Model& model, const CalibrateSettings& settings, const CalibrationInputs& inputs) {
  const auto device = model.parameters().at(0).tensor.device();
  const Random random(inputs.seed, "calibration");
  switch (settings.source) {
    case CalibrationSource::self:
      return self_generated_tokens(model, inputs.vocabulary, settings.sequences, settings.length, settings.temperature,
                                   random, device);
    case CalibrationSource::random:
      return random_tokens(inputs.vocabulary, settings.sequences, settings.length, random, device);
    case CalibrationSource::train:
      break;
  }
  CADDIE_CHECK(inputs.train_tokens != nullptr, ErrorKind::usage,
               "calibration from training data was asked for, and there is no training data");
  const auto tokens = inputs.train_tokens(settings.sequences, settings.length);
  CADDIE_CHECK(tokens.dim() == 2 && tokens.size(0) == settings.sequences && tokens.size(1) == settings.length,
               ErrorKind::failed, "the training data gave calibration tokens ", tokens.sizes());
  return tokens.to(device, at::kLong);
}

QuantizedTensor as_stored(const QuantizedTensor& tensor) {
  const at::NoGradGuard no_gradients;
  QuantizedTensor stored = tensor;
  for (const Part part : kParts) {
    auto& values = part_of(stored, part);
    if (!values.defined()) continue;
    const bool steps = part == Part::steps || part == Part::low_rank_left_steps || part == Part::low_rank_right_steps;
    // A tensor of its own: views of a stacked result would keep the whole stack alive.
    const at::Tensor given = values.detach();
    values = steps ? given.to(at::kCPU, at::kHalf).contiguous() : given.to(at::kCPU).contiguous();
    if (at::isIntegralType(values.scalar_type(), false) || values.isfinite().all().item<bool>()) continue;
    CADDIE_CHECK(!steps, ErrorKind::failed, "a row's step does not fit into float16 (largest: ",
                 given.max().item<float>(), "): the weights are too large to be stored");
    throw Error(ErrorKind::failed, concat("a value does not fit into ", at::toString(values.scalar_type()),
                                          " (NaN, or too large)"));
  }
  return stored;
}

QuantizedTensor requantize_rows(const QuantizedTensor& tensor, int bits) {
  const at::NoGradGuard no_gradients;
  auto [codes, steps] = ops::quantize_rows(decode(tensor), bits);
  return {Encoding::row_codes, std::move(codes), std::move(steps), bits, tensor.round_bfloat16, tensor.note};
}

double quadratic_objective(const at::Tensor& decoded, const at::Tensor& weight, const at::Tensor& hessian) {
  const at::NoGradGuard no_gradients;
  const auto error = decoded.to(at::kDouble).sub(weight.to(at::kDouble));
  return error.matmul(hessian.to(at::kDouble)).mul(error).sum().item<double>();
}

}  // namespace caddie::artifact
