// What published variants change about Muon's update: coefficients of the iteration, and rows made alike before it
// (MuonEq-R) or after it (NorMuon). The step itself is in muon.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "caddie/ops.h"
#include "caddie/options.h"

namespace caddie {

struct NewtonSchulz {
  std::vector<ops::NewtonSchulzStep> steps;
  double margin;  // the matrix is divided by so many times its norm
};
// Throws Error(usage) for coefficients that are not three.
NewtonSchulz newton_schulz_of(const Options& options);

enum class RowNorm { none, momentum, update };
RowNorm row_norm_of(const Options& options);

// In place: every row of [n, R, C] divided by its length (at least 1e-7).
void normalize_rows(at::Tensor& direction);

// NorMuon (Li et al., 2025): v = beta2 v + (1 - beta2) mean of u^2 over a row; u / (sqrt(v) + 1e-8), scaled back to the
// length that the whole u had, so that the rate keeps its meaning. update [n, R, C], moment float32 [n, R, 1], changed
// in place. Returns the update's type.
at::Tensor scaled_by_row_moment(const at::Tensor& update, at::Tensor& moment, double beta2);

}  // namespace caddie
