// The column loop. Rows are independent: a tile of rows is one task, and within it a column's values lie side by side,
// so that the loops over rows are vector code. Errors reach later blocks by one matrix product a block, taken when the
// block starts (left-looking): a column is then read and written once.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "gptq.h"

namespace gptq {

Rows quantize_rows(const at::Tensor& weight, const at::Tensor& steps, const Factor& factor, const Settings& settings) {
  const auto rows = weight.size(0), columns = weight.size(1);
  const float top = static_cast<float>((1 << (settings.bits - 1)) - 1);
  auto values = weight.index_select(1, factor.order).t().contiguous();  // [C, R]
  auto errors = at::empty_like(values);
  auto codes = at::empty({columns, rows}, weight.options().dtype(at::kChar));
  const float* upper = factor.upper.const_data_ptr<float>();
  for (std::int64_t first = 0; first < columns; first += settings.block) {
    const auto count = std::min(settings.block, columns - first);
    auto block = values.narrow(0, first, count);
    if (first > 0)
      block.addmm_(factor.upper.narrow(0, 0, first).narrow(1, first, count).t(), errors.narrow(0, 0, first), 1, -1);
    constexpr std::int64_t kTile = 64;  // rows; a tile of a block of 128 is 32 KiB
    const auto tiles = (rows + kTile - 1) / kTile;
    at::parallel_for(0, tiles, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto tile = begin; tile < end; ++tile) {
        const auto at_row = tile * kTile, offset = first * rows + at_row;
        quantize_block(values.mutable_data_ptr<float>() + offset, errors.mutable_data_ptr<float>() + offset,
                       codes.mutable_data_ptr<signed char>() + offset, steps.const_data_ptr<float>() + at_row,
                       upper + first * columns + first, count, rows, columns, std::min(kTile, rows - at_row), top);
      }
    });
  }
  auto result = at::empty({rows, columns}, codes.options());
  result.index_copy_(1, factor.order, codes.t());
  return {std::move(result), steps};
}

// One version a vector width, chosen when the library is loaded.
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) void quantize_block(
    float* values, float* errors, signed char* codes, const float* steps, const float* upper, std::int64_t columns,
    std::int64_t stride, std::int64_t upper_stride, std::int64_t count, float top) {
  // Adding and subtracting 1.5 x 2^23 rounds small values to the nearest whole number, halves to even.
  constexpr float kRound = 12582912.0f;
  for (std::int64_t column = 0; column < columns; ++column) {
    const float* value = values + column * stride;
    float* error = errors + column * stride;
    signed char* code = codes + column * stride;
    const float* row_of_upper = upper + column * upper_stride;
    const float pivot = row_of_upper[column];
    for (std::int64_t row = 0; row < count; ++row) {
      float level = value[row] / steps[row];
      level = level < -top ? -top : level;
      level = level > top ? top : level;
      level = (level + kRound) - kRound;
      error[row] = (value[row] - level * steps[row]) / pivot;
      code[row] = static_cast<signed char>(level);
    }
    for (std::int64_t later = column + 1; later < columns; ++later) {
      const float share = row_of_upper[later];
      float* to = values + later * stride;
      for (std::int64_t row = 0; row < count; ++row) to[row] -= share * error[row];
    }
  }
}

}  // namespace gptq
