// A small model of each plugin, at a point where no parameter is zero and no gradient vanishes by its initial value.
#pragma once

#include "tests/conformance/suite.h"

namespace caddie::conformance {

constexpr std::int64_t kVocabulary = 40, kSequence = 12;

struct SmallModel {
  std::shared_ptr<Model> model;
  at::Tensor inputs, targets;  // [2, kSequence]

  explicit SmallModel(const std::string& name, Precision precision = Precision::float32, at::Device device = at::kCPU);
  // Noise on every parameter: weights that begin at 0 would hide what lies behind them.
  void stir();
  double loss() const { return model->loss(inputs, targets).item<double>(); }
};

}  // namespace caddie::conformance
