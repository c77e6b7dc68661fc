// Generation on a CUDA device, one position a sequence: half a block in three launches, its MLP in two, the head in one. Nothing
// here waits for the device or depends on a number that lies there, so the launches can be recorded.
#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {
namespace {

std::int64_t rows_of(const at::Tensor& x) { return x.numel() / x.size(-1); }

// A launch whose `used` were `given` in this form: what had to be converted first is not there early.
Launch launch_with(const at::Tensor& x, std::initializer_list<std::pair<const at::Tensor*, const at::Tensor*>> used_given) {
  auto launch = launch_for(x.scalar_type());
  for (const auto& [used, given] : used_given) launch.early = launch.early && bytes(*used) == bytes(*given);
  return launch;
}

FewRows product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out) {
  return {rows_of(x), x.size(-1), weight.size(0), bytes(x), bytes(weight), false, bytes_of(out)};
}

at::Tensor launch_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, const at::Tensor& position, bool exclude) {
  CADDIE_CHECK(keys.is_contiguous() && values.is_contiguous() && keys.scalar_type() == qkv.scalar_type(), ErrorKind::failed,
               "cached_attention needs dense caches of the type of qkv");
  const auto rows = qkv.contiguous(), cosines = cos.contiguous(), sines = sin.contiguous(), gains = gain.contiguous();
  const auto heads = gain.size(0), kv_heads = keys.size(2), head = keys.size(3);
  const auto out = new_like({qkv.size(0), 1, heads * head}, qkv);
  decode(launch_for(qkv.scalar_type()),
         {qkv.size(0), keys.size(1), 0, heads, kv_heads, head, bytes(rows), floats(cosines), floats(sines), floats(gains),
          bytes_of(keys), bytes_of(values), bytes_of(out), exclude, position.const_data_ptr<std::int64_t>()});
  return out;
}

}  // namespace

bool few_rows_usable(const at::Tensor& x, at::IntArrayRef more_inputs) {
  bool fits = usable_elements(x) && few_rows_fit(rows_of(x), x.size(-1));
  for (const auto inputs : more_inputs) fits = fits && few_rows_fit(rows_of(x), inputs);
  return fits;
}

at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& gain,
                            const at::Tensor& keys, const at::Tensor& values, const at::Tensor& position, bool exclude) {
  const auto out = launch_attention(qkv, cos, sin, gain, keys, values, position, exclude);
  check_launches();
  return out;
}

at::Tensor cached_attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& w, const at::Tensor& cos,
                                 const at::Tensor& sin, const at::Tensor& keys, const at::Tensor& values,
                                 const at::Tensor& position) {
  const auto rows = x.contiguous(), rows0 = x0.contiguous(), mix = w.mix.contiguous(), scale = w.scale.contiguous();
  const auto in = compute_copy(w.qkv_compute, x), back = compute_copy(w.output_compute, x);
  check_matrix(in, in.size(0), x.size(-1), "cached_attention_half");
  check_matrix(back, x.size(-1), back.size(1), "cached_attention_half");
  const auto mixed = at::empty_like(rows), out = at::empty_like(rows), qkv = new_like({x.size(0), 1, in.size(0)}, x);
  FewRows first = product(rows, in, qkv);
  first.norm = true, first.x0 = bytes(rows0), first.mix = floats(mix), first.mixed = bytes_of(mixed);
  few_rows(launch_with(x, {{&in, &w.qkv_compute}, {&mix, &w.mix}}), first);
  const auto attended = launch_attention(qkv, cos, sin, w.gain, keys, values, position, w.exclude);
  FewRows last = product(attended, back, out);
  last.residual = bytes(mixed), last.scale = floats(scale);
  few_rows(launch_with(x, {{&back, &w.output_compute}, {&scale, &w.scale}}), last);
  check_launches();
  return out;
}

at::Tensor few_rows_mlp_half(const at::Tensor& x, const MlpHalf& w) {
  const auto rows = x.contiguous(), scale = w.scale.contiguous();
  const auto up = compute_copy(w.up_compute, x), down = compute_copy(w.down_compute, x);
  check_matrix(up, up.size(0), x.size(-1), "mlp_half");
  check_matrix(down, x.size(-1), up.size(0), "mlp_half");
  const auto hidden = new_like({rows_of(x), up.size(0)}, x), out = at::empty_like(rows);
  FewRows first = product(rows, up, hidden);
  first.norm = true, first.activate = true, first.slope = static_cast<float>(w.slope);
  few_rows(launch_with(x, {{&up, &w.up_compute}}), first);
  FewRows last = product(hidden, down, out);
  last.residual = bytes(rows), last.scale = floats(scale);
  few_rows(launch_with(x, {{&down, &w.down_compute}, {&scale, &w.scale}}), last);
  check_launches();
  return out;
}

at::Tensor head_logits(const at::Tensor& x, const at::Tensor& compute, double cap) {
  const auto rows = x.contiguous(), map = compute_copy(compute, x);
  check_matrix(map, map.size(0), x.size(-1), "head_logits");
  auto sizes = x.sizes().vec();
  sizes.back() = map.size(0);
  const auto out = new_floats(sizes, x);
  FewRows all = product(rows, map, out);
  all.norm = true, all.logits = floats_of(out), all.cap = static_cast<float>(cap);
  few_rows(launch_with(x, {{&map, &compute}}), all);
  check_launches();
  return out;
}

void pick_next(const at::Tensor& logits, const at::Tensor& levels, const at::Tensor& position, double temperature,
               const at::Tensor& next, const at::Tensor& tokens) {
  const auto rows = logits.contiguous();
  sample(launch_for(at::kFloat),
         {rows.size(0), rows.size(1), tokens.defined() ? tokens.size(1) : 0, floats(rows), levels.const_data_ptr<double>(),
          position.mutable_data_ptr<std::int64_t>(), temperature, next.mutable_data_ptr<std::int64_t>(),
          tokens.defined() ? tokens.mutable_data_ptr<std::int64_t>() : nullptr});
  check_launches();
}

}  // namespace caddie::ops::cuda
