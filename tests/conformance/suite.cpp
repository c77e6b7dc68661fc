#include "tests/conformance/suite.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <span>

#include "core/config/options.h"

namespace caddie::conformance {
namespace {

// Sizes by the names that options of models usually have.
const std::map<std::string, Json>& small_sizes() {
  static const std::map<std::string, Json> sizes{{"layers", 4},   {"width", 32},    {"heads", 4},
                                                 {"kv_heads", 2}, {"mlp_ratio", 2}, {"hidden", 32},
                                                 {"xsa_last", 2}};
  return sizes;
}

}  // namespace

Json small_section(PluginKind kind, const std::string& name) {
  const Component& component = catalogue().require(kind, name);
  Json section{{"use", name}};
  if (kind != PluginKind::model) return section;
  for (const OptionSpec& spec : std::span(component.options, component.option_count)) {
    const auto size = small_sizes().find(spec.key);
    if (size != small_sizes().end() && option_fault(spec, size->second).empty()) section[spec.key] = size->second;
  }
  return section;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const at::Tensor left = a.detach().contiguous(), right = b.detach().contiguous();
  return std::memcmp(left.const_data_ptr(), right.const_data_ptr(), left.nbytes()) == 0;
}

at::Tensor normal(std::vector<std::int64_t> shape, const std::string& label, double deviation) {
  Random random(7, label);
  at::Tensor values = at::empty(shape, at::kFloat);
  float* numbers = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) numbers[i] = static_cast<float>(random.normal() * deviation);
  return values;
}

at::Tensor tokens(std::int64_t batch, std::int64_t length, std::int64_t bound, const std::string& label) {
  Random random(7, label);
  at::Tensor values = at::empty({batch, length}, at::kLong);
  std::int64_t* numbers = values.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < values.numel(); ++i)
    numbers[i] = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(bound)));
  return values;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0) return 0;
  return a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace caddie::conformance
