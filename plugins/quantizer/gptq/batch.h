// GPTQ of many matrices at once, by ops that a GPU has kernels for: matrices of one width are factorised, and their columns
// rounded, together. On a CPU the ops are oracles and slow; factor.cpp and columns.cpp are the way there.
#pragma once

#include "gptq.h"

namespace gptq {

struct Job {
  at::Tensor hessian;  // float32 [C, C]
  at::Tensor rows;     // float32 [R, C], all weights with this input
  at::Tensor steps;    // float32 [R]
};
struct Outcome {
  at::Tensor codes;    // int8 [R, C], columns in their own order
  double damping;      // the share that worked
};
// One a job, empty where no damping makes the Hessian positive definite. All tensors on one device.
std::vector<std::optional<Outcome>> quantize_jobs(std::span<const Job> jobs, const Settings& settings);

}  // namespace gptq
