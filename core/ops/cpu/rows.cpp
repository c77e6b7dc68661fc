// The small ops without gradients: what generation, calibration and observation run.
#include "core/ops/cpu/rows.h"

#include <ATen/ops/empty.h>

#include "caddie/ops.h"
#include "core/ops/cpu/fused.h"
#include "core/ops/cpu/glue.h"

namespace caddie::ops::cpu {

at::Tensor run_rows(RowOp what, const at::Tensor& x, const at::Tensor& y, const at::Tensor& factors, double slope) {
  CADDIE_CHECK(!y.defined() || (y.sizes() == x.sizes() && y.scalar_type() == x.scalar_type()), ErrorKind::failed,
               "rows of one shape and type are needed, not ", x.sizes(), " and ", y.sizes());
  const auto out = pooled(x.sizes(), x.scalar_type());
  const auto width = x.size(-1);
  const Rows a{what, x.numel() / width, width, bytes(x), y.defined() ? bytes(y) : nullptr,
               factors.defined() ? floats(factors) : nullptr, static_cast<float>(slope), bytes_of(out)};
  kernels().rows(common_for(x.scalar_type()), a);
  return out;
}

at::Tensor rms_norm(const at::Tensor& x) { return run_rows(RowOp::norm, x.contiguous(), {}, {}); }

at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix) {
  return run_rows(RowOp::mix, x.contiguous(), x0.contiguous(), mix.contiguous());
}

at::Tensor squared_leaky_relu(const at::Tensor& x, double slope) {
  return run_rows(RowOp::squared_leaky_relu, x.contiguous(), {}, {}, slope);
}

at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain) {
  const auto batch = x.size(0), length = x.size(1), heads = x.size(2), head = x.size(3);
  // Heads inside longer rows are read where they are.
  const bool in_place = x.stride(3) == 1 && (heads == 1 || x.stride(2) == head) && (batch == 1 || x.stride(0) == length * x.stride(1));
  const auto source = in_place ? x : x.contiguous();
  const auto cosines = cos.contiguous(), sines = sin.contiguous(), gains = gain.defined() ? gain.contiguous() : gain;
  const auto out = pooled(x.sizes(), x.scalar_type());
  const Rotate a{batch, length, heads, head, source.stride(1), bytes(source), floats(cosines), floats(sines),
                 gains.defined() ? floats(gains) : nullptr, bytes_of(out)};
  kernels().rotate(common_for(x.scalar_type()), a);
  return out;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto query = q.contiguous();
  // The front of a cache is read where it is.
  const auto dense = [](const at::Tensor& x) { return x.stride(3) == 1 && x.stride(2) == x.size(3) && x.stride(1) == x.size(2) * x.size(3); };
  const bool in_place = dense(k) && dense(v) && k.stride(0) == v.stride(0);
  const auto keys = in_place ? k : k.contiguous(), values = in_place ? v : v.contiguous();
  const auto out = pooled(q.sizes(), q.scalar_type());
  const AttendCached a{q.size(0), q.size(1), k.size(1), q.size(2), k.size(2), q.size(3), keys.stride(0), bytes(query),
                       bytes(keys), bytes(values), bytes_of(out)};
  kernels().attend_cached(common_for(q.scalar_type()), a);
  return out;
}

at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v) {
  const auto rows = y.contiguous(), values = v.contiguous();
  const auto out = pooled(y.sizes(), y.scalar_type());
  const Exclude a{y.size(0) * y.size(1), y.size(2), v.size(2), y.size(3), v.size(2) * v.size(3), bytes(rows), bytes(values),
                  bytes_of(out)};
  kernels().exclude(common_for(y.scalar_type()), a);
  return out;
}

at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits) {
  const auto dense = weight.detach().contiguous();
  const auto out = at::empty(dense.sizes(), at::kFloat);
  const auto width = dense.size(-1);
  const FakeQuantize a{dense.numel() / width, width, static_cast<float>((1 << (bits - 1)) - 1), floats(dense), floats_of(out)};
  kernels().fake_quantize(common_for(at::kFloat), a);
  return out;
}

}  // namespace caddie::ops::cpu
