// Between tensors and the kernels' plain pointers; for the fused_*.cpp files only.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include "caddie/error.h"
#include "core/ops/cpu/kernels.h"
#include "core/ops/cpu/scratch.h"

namespace caddie::ops::cpu {

inline Common common_for(at::ScalarType type) { return {at::get_num_threads(), type == at::kBFloat16, thread_scratch}; }

inline const float* floats(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }
inline float* floats_of(const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }
inline const void* bytes(const at::Tensor& tensor) { return tensor.const_data_ptr(); }
inline void* bytes_of(const at::Tensor& tensor) { return tensor.mutable_data_ptr(); }

// A compute copy as the kernels need it.
inline at::Tensor compute_copy(const at::Tensor& copy, const at::Tensor& x) {
  return copy.detach().to(x.scalar_type()).contiguous();
}
inline void check_matrix(const at::Tensor& weight, const at::Tensor& copy, std::int64_t rows, std::int64_t columns,
                         const char* what) {
  CADDIE_CHECK(copy.dim() == 2 && copy.size(0) == rows && copy.size(1) == columns && weight.scalar_type() == at::kFloat,
               ErrorKind::failed, what, ": a float32 weight with a copy of [", rows, ", ", columns, "] is needed, not ",
               weight.scalar_type(), " with ", copy.sizes());
}

}  // namespace caddie::ops::cpu
