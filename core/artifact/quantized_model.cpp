// Decoding, the identity of decoded weights, and their way into a model.
#include "core/artifact/quantized_model.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <map>

#include "caddie/error.h"
#include "core/base/hash.h"

namespace caddie::artifact {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers as they lie in memory");

const at::Tensor& part_of(const QuantizedTensor& tensor, Part part) {
  switch (part) {
    case Part::codes: return tensor.codes;
    case Part::steps: return tensor.steps;
    case Part::low_rank_left: return tensor.low_rank.left;
    case Part::low_rank_right: return tensor.low_rank.right;
    case Part::low_rank_left_steps: return tensor.low_rank.left_steps;
    case Part::low_rank_right_steps: break;
  }
  return tensor.low_rank.right_steps;
}

at::Tensor& part_of(QuantizedTensor& tensor, Part part) {
  return const_cast<at::Tensor&>(part_of(std::as_const(tensor), part));
}

const char* part_name(Part part) {
  switch (part) {
    case Part::codes: return "codes";
    case Part::steps: return "steps";
    case Part::low_rank_left: return "low_rank_left";
    case Part::low_rank_right: return "low_rank_right";
    case Part::low_rank_left_steps: return "low_rank_left_steps";
    case Part::low_rank_right_steps: break;
  }
  return "low_rank_right_steps";
}

std::int64_t part_bytes(const QuantizedTensor& tensor) {
  std::int64_t bytes = 0;
  for (const Part part : kParts)
    if (const auto& values = part_of(tensor, part); values.defined()) bytes += static_cast<std::int64_t>(values.nbytes());
  return bytes;
}

at::Tensor decode(const QuantizedTensor& tensor) { return decoded_value(tensor); }

NamedWeights decode(std::span<const StoredTensor> tensors) {
  NamedWeights weights(tensors.size());
  // One parallel region for all: a region a tensor costs more than a small tensor does. Each thread takes the next one.
  std::atomic<std::size_t> next{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](std::int64_t, std::int64_t) {
    for (std::size_t i = next++; i < tensors.size(); i = next++)
      weights[i] = {tensors[i].name, decode(tensors[i].data).view(tensors[i].shape)};
  });
  return weights;
}

std::string weights_hash(const NamedWeights& weights) {
  std::vector<const NamedWeights::value_type*> sorted;
  for (const auto& weight : weights) sorted.push_back(&weight);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  Sha256 hash;
  const auto number = [&](std::uint64_t value) { hash.update(std::as_bytes(std::span(&value, 1))); };
  for (const auto* weight : sorted) {
    number(weight->first.size());
    hash.update(weight->first);
    const auto values = weight->second.to(at::kCPU, at::kFloat).contiguous();
    number(static_cast<std::uint64_t>(values.dim()));
    for (const auto size : values.sizes()) number(static_cast<std::uint64_t>(size));
    hash.update(std::as_bytes(std::span(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel()))));
  }
  return hash.hex();
}

void load_weights(Model& model, const NamedWeights& weights) {
  const at::NoGradGuard no_gradients;
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const auto& [name, value] : weights)
    CADDIE_CHECK(by_name.emplace(name, &value).second, ErrorKind::data, "the weights hold '", name, "' twice");
  const auto& parameters = model.parameters();
  for (const auto& parameter : parameters) {
    const auto found = by_name.find(parameter.name);
    CADDIE_CHECK(found != by_name.end(), ErrorKind::data, "the weights lack the model's parameter '", parameter.name,
                 "'");
    CADDIE_CHECK(found->second->sizes() == parameter.tensor.sizes(), ErrorKind::data, "the weight '", parameter.name,
                 "' is ", found->second->sizes(), ", the model's parameter is ", parameter.tensor.sizes());
    by_name.erase(found);
  }
  CADDIE_CHECK(by_name.empty(), ErrorKind::data, "the model has no parameter '", by_name.begin()->first,
               "', which the weights hold");
  std::map<std::string_view, at::Tensor> targets;
  for (const auto& parameter : parameters) targets.emplace(parameter.name, parameter.tensor);
  for (const auto& [name, value] : weights) targets.at(name).copy_(value);
  model.prepare(/*training=*/false);
}

}  // namespace caddie::artifact
