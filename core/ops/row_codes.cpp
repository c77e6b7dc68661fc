// Steps of rows and rounding with them. The rule `absmax` is exactly that of ops::quantize_rows (reference section 3).
#include "caddie/row_codes.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "caddie/error.h"

namespace caddie {
namespace {

// Steps below this would be infinite when something is divided by them.
constexpr double kSmallest = 1e-12;

double top_of(int bits) {
  CADDIE_CHECK(bits >= 2 && bits <= 8, ErrorKind::usage, "codes of ", bits, " bits are not possible, accepted: 2 to 8");
  return (1 << (bits - 1)) - 1;
}

// As a tensor: division by a number is a product with its reciprocal on some devices.
at::Tensor divided(const at::Tensor& values, double by) { return values.div(at::full({1}, by, values.options())); }

at::Tensor absmax_steps(const at::Tensor& weight, double top) {
  return divided(weight.abs().amax(1).clamp_min(kSmallest), top);
}

at::Tensor searched_steps(const at::Tensor& weight, int bits, const std::vector<double>& clips) {
  CADDIE_CHECK(!clips.empty(), ErrorKind::usage, "'clips' is an empty list, at least one share is needed");
  const auto widest = absmax_steps(weight, top_of(bits));
  at::Tensor best, least;
  for (const double clip : clips) {
    const auto steps = widest.mul(clip).clamp_min(kSmallest / 127);
    const auto decoded = round_rows(weight, steps, bits).to(at::kFloat).mul(steps.unsqueeze(1));
    const auto error = decoded.sub(weight).square().sum(1, false, at::kDouble);
    if (!best.defined()) {
      best = steps;
      least = error;
      continue;
    }
    const auto better = error.lt(least);  // equal: the first one
    best = at::where(better, steps, best);
    least = at::where(better, error, least);
  }
  return best;
}

// The mean squared error of N(0, 1) rounded with `step` and cut at top steps: uniform inside, the tails beyond.
double gaussian_error(double step, double top) {
  const double edge = (top + 0.5) * step, c = top * step;
  const double density = std::exp(-0.5 * edge * edge) / std::sqrt(2 * std::numbers::pi);
  const double tail = 0.5 * std::erfc(edge / std::numbers::sqrt2);
  const double beyond = 2 * ((1 + c * c) * tail + (edge - 2 * c) * density);
  return step * step / 12 * (1 - 2 * tail) + beyond;
}

}  // namespace

StepSettings step_settings(const Options& options) {
  const auto& name = options.text("steps");
  StepSettings settings;
  settings.rule = name == "clip_search" ? StepRule::clip_search
                  : name == "sdclip"    ? StepRule::sdclip
                  : name == "tensor"    ? StepRule::tensor
                                        : StepRule::absmax;
  settings.sigmas = options.number("sigmas");
  settings.clips = options.numbers("clips");
  CADDIE_CHECK(settings.rule != StepRule::clip_search || !settings.clips.empty(), ErrorKind::usage,
               "'clips' is an empty list, at least one share is needed");
  return settings;
}

at::Tensor row_steps(const at::Tensor& weight, int bits, const StepSettings& settings) {
  const at::NoGradGuard no_gradients;
  const double top = top_of(bits);
  CADDIE_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat, ErrorKind::failed,
               "row steps are for float32 matrices, not ", weight.scalar_type(), " of ", weight.dim(), " dimensions");
  switch (settings.rule) {
    case StepRule::absmax: break;
    case StepRule::clip_search: return searched_steps(weight, bits, settings.clips);
    case StepRule::sdclip:
      if (weight.size(1) < 2) break;  // one number has no deviation
      return divided(weight.to(at::kDouble).std(1).to(at::kFloat).mul(settings.sigmas), top).clamp_min(kSmallest);
    case StepRule::tensor: {
      if (weight.numel() < 2) break;
      const double deviation = weight.to(at::kDouble).std().item<double>();
      return at::full({weight.size(0)}, std::max(settings.sigmas * deviation / top, kSmallest), weight.options());
    }
  }
  return absmax_steps(weight, top);
}

at::Tensor round_rows(const at::Tensor& weight, const at::Tensor& steps, int bits) {
  const at::NoGradGuard no_gradients;
  const double top = top_of(bits);
  auto wide = steps.unsqueeze(1);
  if (steps.dim() == 2) {
    const auto groups = steps.size(1), columns = weight.size(1);
    wide = steps.repeat_interleave((columns + groups - 1) / groups, 1).narrow(1, 0, columns);
  }
  return weight.div(wide).round().clamp(-top, top).to(at::kChar);
}

std::int64_t step_groups(std::int64_t columns, std::int64_t width) {
  return width < 1 || columns < 1 ? 1 : (columns + width - 1) / width;
}

ExpectedSize expected_row_codes(int bits, std::int64_t rows, std::int64_t columns, const StepSettings& settings) {
  const double top = top_of(bits);
  if (settings.rule == StepRule::absmax || columns < 2) return expected_row_codes(bits, rows, columns);
  if (settings.rule != StepRule::clip_search)
    return expected_codes(gaussian_code_bits(bits, settings.sigmas / top), rows, columns, rows);
  // The median of the largest magnitude of `columns` normal numbers, by bisection.
  double low = 0, high = 10;
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high);
    const double below = std::pow(std::erf(middle / std::numbers::sqrt2), static_cast<double>(columns));
    (below < 0.5 ? low : high) = middle;
  }
  double step = low / top, least = std::numeric_limits<double>::max();
  for (const double clip : settings.clips) {
    const double error = gaussian_error(clip * low / top, top);
    if (error < least) least = error, step = clip * low / top;
  }
  return expected_codes(gaussian_code_bits(bits, step), rows, columns, rows);
}

namespace {

// codes int8 [R, C] times steps float32 [R], in one pass: what a model's weights are read with.
at::Tensor scaled_rows(const at::Tensor& codes, const at::Tensor& steps) {
  using Codes = std::int8_t __attribute__((vector_size(16)));
  using Values = float __attribute__((vector_size(64)));
  at::Tensor values = at::empty(codes.sizes(), steps.options());
  const std::int64_t rows = codes.size(0), columns = codes.size(1);
  const auto* from = codes.const_data_ptr<std::int8_t>();
  const auto* scales = steps.const_data_ptr<float>();
  auto* to = values.mutable_data_ptr<float>();
  const std::int64_t rows_a_task = std::max<std::int64_t>(1, (std::int64_t{1} << 17) / std::max<std::int64_t>(columns, 1));
  at::parallel_for(0, rows, rows_a_task, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int8_t* code = from + row * columns;
      float* value = to + row * columns;
      const float scale = scales[row];
      std::int64_t i = 0;
      for (; i + 16 <= columns; i += 16) {
        Codes block;
        std::memcpy(&block, code + i, sizeof(block));
        const Values product = __builtin_convertvector(block, Values) * scale;
        std::memcpy(value + i, &product, sizeof(product));
      }
      for (; i < columns; ++i) value[i] = static_cast<float>(code[i]) * scale;
    }
  });
  return values;
}

}  // namespace

at::Tensor decoded_value(const QuantizedTensor& tensor) {
  const at::NoGradGuard no_gradients;
  const bool simple = tensor.encoding == Encoding::row_codes && tensor.codes.dim() == 2 && tensor.steps.dim() == 1 &&
                      !tensor.low_rank.left.defined() && tensor.codes.is_cpu() && tensor.steps.is_cpu() &&
                      tensor.codes.scalar_type() == at::kChar;
  if (simple) {
    const at::Tensor values = scaled_rows(tensor.codes.contiguous(), tensor.steps.to(at::kFloat).contiguous());
    return tensor.round_bfloat16 ? values.to(at::kBFloat16).to(at::kFloat) : values;
  }
  auto values = tensor.codes.to(at::kFloat);
  if (tensor.encoding == Encoding::row_codes) {
    auto steps = tensor.steps.to(at::kFloat);
    if (steps.dim() == 2) {
      const auto groups = steps.size(1), columns = values.size(1);
      steps = steps.repeat_interleave((columns + groups - 1) / std::max<std::int64_t>(groups, 1), 1).narrow(1, 0, columns);
      values = values.mul(steps);
    } else {
      values = values.mul(steps.unsqueeze(1));
    }
    if (const auto& extra = tensor.low_rank; extra.left.defined()) {
      auto left = extra.left.to(at::kFloat), right = extra.right.to(at::kFloat);
      if (extra.left_steps.defined()) {
        left = left.mul(extra.left_steps.to(at::kFloat).unsqueeze(1));
        right = right.mul(extra.right_steps.to(at::kFloat).unsqueeze(1));
      }
      // One product and one sum at a time: a matrix product's order of summation differs between machines.
      for (std::int64_t i = 0; i < left.size(0); ++i)
        values = values.add(left.select(0, i).unsqueeze(1).mul(right.select(0, i).unsqueeze(0)));
    }
  }
  return tensor.round_bfloat16 ? values.to(at::kBFloat16).to(at::kFloat) : values;
}

}  // namespace caddie
