// All gradients in one float32 buffer, as views that autograd adds into: one fill clears them, one reduction adds them
// over ranks, one pass measures them.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "caddie/model.h"

namespace caddie::train {

class CADDIE_API GradientArena {
 public:
  // Makes every parameter's .grad a view, aligned to 64 bytes; equal roles and shapes lie side by side. The parameters
  // must be float32 leaves on one device. The destructor takes the gradients away from them again.
  explicit GradientArena(const std::vector<Parameter>& parameters);
  ~GradientArena();
  GradientArena(const GradientArena&) = delete;
  GradientArena& operator=(const GradientArena&) = delete;

  at::Tensor& all() { return arena_; }  // [elements, padding included]; padding is 0
  const at::Tensor& gradient(std::size_t parameter) const { return views_[parameter]; }
  void zero();
  // Throws Error(failed) if something replaced a gradient in place of adding to it.
  void check_attached() const;

 private:
  std::vector<at::Tensor> parameters_, views_;
  std::vector<std::string> names_;
  at::Tensor arena_;
};

}  // namespace caddie::train
