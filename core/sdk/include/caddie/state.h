// Named tensors and numbers that a stateful component saves into a checkpoint and loads back, bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "caddie/export.h"

namespace caddie {

class CADDIE_API StateWriter {
 public:
  virtual ~StateWriter();
  virtual void tensor(std::string_view name, const at::Tensor& value) = 0;
  virtual void number(std::string_view name, double value) = 0;
};

class CADDIE_API StateReader {
 public:
  virtual ~StateReader();
  virtual at::Tensor tensor(std::string_view name) const = 0;  // throws Error(data) if missing
  virtual double number(std::string_view name) const = 0;
};

}  // namespace caddie
