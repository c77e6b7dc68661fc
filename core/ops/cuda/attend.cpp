// Attention by the kernels that LibTorch brings, behind one call: cuDNN for long even lengths (it builds a plan for each shape,
// so not for generation), FlashAttention for the rest of bfloat16, the oracle's sums for everything else.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>

#include "core/base/log.h"
#include "core/ops/cuda/glue.h"
#include "core/ops/reference/reference.h"

namespace caddie::ops::cuda {
namespace {

enum Kernel { kPlain = 0, kFlash = 1, kCudnn = 2 };
std::atomic<int> best_kernel{kCudnn};  // falls when a kernel turns out to be missing on this device

int kernel_for(const at::Tensor& q, const at::Tensor& k) {
  const auto head = q.size(3);
  if (!q.is_cuda() || q.scalar_type() != at::kBFloat16 || head % 8 != 0) return kPlain;
  const bool square = q.size(1) == k.size(1);
  int kernel = head <= 256 && (square || q.size(1) <= k.size(1)) ? kFlash : kPlain;
  if (square && q.size(1) >= 256 && q.size(1) % 64 == 0 && head <= 128) kernel = kCudnn;
  return std::min(kernel, best_kernel.load());
}

at::Tensor heads_first(const at::Tensor& x) { return x.transpose(1, 2); }
at::Tensor positions_first(const at::Tensor& x) { return x.transpose(1, 2).contiguous(); }

Attended run(int kernel, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool for_backward) {
  Attended result;
  result.kernel = kernel;
  if (kernel == kCudnn) {
    auto [out, log_sum, cumulative_q, cumulative_k, most_q, most_k, seed, offset, debug] = at::_scaled_dot_product_cudnn_attention(
        heads_first(q), heads_first(k), heads_first(v), std::nullopt, for_backward, 0.0, /*is_causal=*/true);
    result.output = out, result.log_sum = log_sum, result.seed = seed, result.offset = offset;
    result.most_queries = most_q.expect_int(), result.most_keys = most_k.expect_int();
  } else if (kernel == kFlash) {
    // One query sees all keys; more of them are aligned with the last keys, which is what the causal kernel does.
    auto [out, log_sum, cumulative_q, cumulative_k, most_q, most_k, seed, offset, debug] = at::_scaled_dot_product_flash_attention(
        heads_first(q), heads_first(k), heads_first(v), 0.0, /*is_causal=*/q.size(1) > 1);
    result.output = out, result.log_sum = log_sum, result.seed = seed, result.offset = offset;
    result.most_queries = most_q.expect_int(), result.most_keys = most_k.expect_int();
  } else {
    result.values = reference::attention(q, k, v).contiguous();
    return result;
  }
  result.values = positions_first(result.output);
  return result;
}

}  // namespace

Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool for_backward) {
  const at::NoGradGuard guard;
  const int kernel = kernel_for(q, k);
  if (kernel == kPlain) return run(kernel, q, k, v, for_backward);
  try {
    return run(kernel, q, k, v, for_backward);
  } catch (const c10::OutOfMemoryError&) {
    throw;  // says nothing about the kernel
  } catch (const c10::Error& error) {
    log::warning(concat(kernel == kCudnn ? "cuDNN" : "Flash", " attention does not run here (",
                        error.what_without_backtrace(), "); another kernel takes its place"));
    best_kernel = kernel - 1;
    return attend(q, k, v, for_backward);
  }
}

AttentionGradients attend_backward(const at::Tensor& gradient, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const Attended& a) {
  if (a.kernel == kPlain) {
    const at::AutoGradMode on(true);
    const auto leaf = [](const at::Tensor& x) { return x.detach().requires_grad_(true); };
    const auto q_leaf = leaf(q), k_leaf = leaf(k), v_leaf = leaf(v);
    const auto out = reference::attention(q_leaf, k_leaf, v_leaf);
    const auto of = torch::autograd::grad({out}, {q_leaf, k_leaf, v_leaf}, {gradient});
    return {of[0].contiguous(), of[1].contiguous(), of[2].contiguous()};
  }
  const at::Tensor none;
  const auto run_with = [&](auto op, const auto&... more) {
    auto [of_q, of_k, of_v] = op(heads_first(gradient), heads_first(q), heads_first(k), heads_first(v), a.output, a.log_sum, more...);
    return AttentionGradients{positions_first(of_q), positions_first(of_k), positions_first(of_v)};
  };
  if (a.kernel == kCudnn) {
    return run_with([](const auto&... all) { return at::_scaled_dot_product_cudnn_attention_backward(all...); }, a.seed, a.offset,
                    none, none, none, a.most_queries, a.most_keys, 0.0, /*is_causal=*/true);
  }
  return run_with([](const auto&... all) { return at::_scaled_dot_product_flash_attention_backward(all...); }, none, none,
                  a.most_queries, a.most_keys, 0.0, /*is_causal=*/q.size(1) > 1, a.seed, a.offset);
}

}  // namespace caddie::ops::cuda
