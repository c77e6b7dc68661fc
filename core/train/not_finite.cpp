#include "core/train/not_finite.h"

#include <ATen/core/grad_mode.h>

#include <exception>

#include "caddie/error.h"

namespace caddie::train {
namespace {

// Elements that are NaN or infinite.
std::int64_t bad_elements(const at::Tensor& tensor) {
  return tensor.numel() - tensor.isfinite().sum().item<std::int64_t>();
}

std::string described(const std::string& what, const at::Tensor& tensor, std::int64_t bad) {
  return concat(what, " (", bad, " of ", tensor.numel(), " elements)");
}

std::string in_forward_pass(Model& model, const at::Device& device, const Batch& batch) {
  std::vector<at::Tensor> outputs;
  try {
    outputs = model.trace(batch.inputs.to(device));
  } catch (const std::exception&) {
    return {};  // the report must not die of what it reports
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string name = i + 1 < outputs.size() ? concat("output of block ", i) : "logits";
    if (const auto bad = bad_elements(outputs[i]); bad > 0) return described(name, outputs[i], bad);
  }
  return {};
}

}  // namespace

std::string first_not_finite(Model& model, const GradientArena& gradients, const Batch& batch, bool loss_is_finite) {
  const at::NoGradGuard guard;
  const auto& parameters = model.parameters();
  for (const auto& parameter : parameters)
    if (const auto bad = bad_elements(parameter.tensor); bad > 0)
      return described("parameter " + parameter.name, parameter.tensor, bad);
  if (!loss_is_finite) {
    const std::string found = in_forward_pass(model, parameters.front().tensor.device(), batch);
    return found.empty() ? "the loss itself" : found;
  }
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (const auto bad = bad_elements(gradients.gradient(i)); bad > 0)
      return described("gradient of " + parameters[i].name, gradients.gradient(i), bad);
  return "none alone: the norm of all gradients overflows";
}

}  // namespace caddie::train
