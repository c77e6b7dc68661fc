// Between tensors and the kernels' launches; for the files of this folder only.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "caddie/error.h"
#include "core/ops/cuda/kernels/kernels.h"
#include "core/ops/recorded.h"

namespace caddie::ops::cuda {

// The stream that LibTorch's ops of this thread go to (device.cpp).
void* current_stream();
inline Launch launch_for(at::ScalarType type) { return {current_stream(), type == at::kBFloat16, EarlyLaunches::allowed()}; }

inline const float* floats(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr; }
inline float* floats_of(const at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; }
inline const void* bytes(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
inline void* bytes_of(const at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr() : nullptr; }

inline at::Tensor new_floats(at::IntArrayRef shape, const at::Tensor& like) {
  return at::empty(shape, like.options().dtype(at::kFloat).requires_grad(false));
}
inline at::Tensor new_like(at::IntArrayRef shape, const at::Tensor& like) {
  return at::empty(shape, like.options().requires_grad(false));
}

// A compute copy as the kernels need it.
inline at::Tensor compute_copy(const at::Tensor& copy, const at::Tensor& x) {
  return copy.detach().to(x.scalar_type()).contiguous();
}
inline void check_matrix(const at::Tensor& copy, std::int64_t rows, std::int64_t columns, const char* what) {
  CADDIE_CHECK(copy.dim() == 2 && copy.size(0) == rows && copy.size(1) == columns, ErrorKind::failed, what, ": a weight of [",
               rows, ", ", columns, "] is needed, not ", copy.sizes());
}
inline void check_launches() {
  if (const char* error = launch_error()) throw Error(ErrorKind::failed, concat("a CUDA kernel was not launched: ", error));
}

// gradient^T x in float32, summed in float32 whatever the type: [columns of gradient, columns of x].
at::Tensor weight_product(const at::Tensor& gradient, const at::Tensor& x);
// The same added to `sum`.
void add_weight_product(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& x);

// Causal attention of queries [B, T, H, h] over keys and values [B, S, K, h] (S >= T, the queries are the last), by cuDNN or
// FlashAttention, with what its backward pass needs. The tensors may be strided over B and T.
inline constexpr int kOwnAttention = 3;  // of Attended::kernel: fused_attention.cpp's own kernels; smaller ones are attend.cpp's
struct Attended {
  at::Tensor values;  // [B, T, H, h], dense
  at::Tensor output, log_sum, seed, offset;
  std::int64_t most_queries = 0, most_keys = 0;
  int kernel = 0;
};
Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool for_backward);
struct AttentionGradients {
  at::Tensor q, k, v;  // dense, of the shapes of the inputs
};
AttentionGradients attend_backward(const at::Tensor& gradient, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const Attended& attended);

}  // namespace caddie::ops::cuda
