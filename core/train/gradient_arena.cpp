#include "core/train/gradient_arena.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

#include "caddie/error.h"

namespace caddie::train {
namespace {
constexpr std::int64_t kAlignment = 16;  // floats: one cache line
}

GradientArena::GradientArena(const std::vector<Parameter>& parameters) {
  CADDIE_CHECK(!parameters.empty(), ErrorKind::failed, "the model has no parameters");
  std::vector<std::size_t> order(parameters.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto key = [&](std::size_t i) {
      return std::make_pair(static_cast<int>(parameters[i].role), parameters[i].tensor.sizes().vec());
    };
    return key(a) < key(b);
  });

  std::vector<std::int64_t> offsets(parameters.size());
  std::int64_t next = 0;
  for (std::size_t i : order) {
    const at::Tensor& tensor = parameters[i].tensor;
    CADDIE_CHECK(tensor.scalar_type() == at::kFloat && tensor.is_leaf() && tensor.device() == parameters[0].tensor.device(),
                 ErrorKind::failed, "parameter ", parameters[i].name, " is not a float32 leaf on ",
                 parameters[0].tensor.device().str());
    offsets[i] = next;
    next += (tensor.numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
  arena_ = at::zeros({next}, parameters[0].tensor.options().requires_grad(false));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor tensor = parameters[i].tensor;
    tensor.requires_grad_(true);
    views_.push_back(arena_.narrow(0, offsets[i], tensor.numel()).view(tensor.sizes()));
    tensor.mutable_grad() = views_.back();
    parameters_.push_back(tensor);
    names_.push_back(parameters[i].name);
  }
}

GradientArena::~GradientArena() {
  for (auto& parameter : parameters_) parameter.mutable_grad() = at::Tensor();
}

void GradientArena::zero() { arena_.zero_(); }

void GradientArena::check_attached() const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& gradient = parameters_[i].grad();
    CADDIE_CHECK(gradient.defined() && gradient.const_data_ptr() == views_[i].const_data_ptr(), ErrorKind::failed,
                 "the gradient of ", names_[i], " was replaced; the model must add to it");
  }
}

}  // namespace caddie::train
