// What quantizers with one step a row share: rules that choose the steps, rounding with given steps, expected sizes, and
// the low-rank residual. Optional: a quantizer may do all of it in its own way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "caddie/quantizer.h"

namespace caddie {

// How a row's step is chosen, top = 2^(bits-1) - 1:
//   absmax       max|w| / top
//   clip_search  f max|w| / top with the share f, out of `clips`, of least squared error (GPTQ-lite)
//   sdclip       sigmas std(w) / top: the step, and with it the entropy, follows the row's deviation
//   tensor       the same with the deviation of the whole matrix: all its rows have one step
enum class StepRule { absmax, clip_search, sdclip, tensor };

struct StepSettings {
  StepRule rule = StepRule::absmax;
  double sigmas = 12.85;
  std::vector<double> clips = {1};
};

// Rows of an option table, for plugins that take all rules, and their values.
inline constexpr OptionSpec kStepsOption = {
    "steps", OptionType::text, "\"absmax\"", nullptr, nullptr, "absmax|clip_search|sdclip|tensor",
    "a row's step: from its largest magnitude, of least squared error, or from the deviation of the row or the tensor"};
inline constexpr OptionSpec kSigmasOption = {
    "sigmas", OptionType::number, "12.85", "0.5", "1000", nullptr,
    "sdclip, tensor: standard deviations that the largest code stands for; more is smaller and coarser"};
inline constexpr OptionSpec kClipsOption = {
    "clips", OptionType::numbers, "[1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5]", "0.01", "1", nullptr,
    "clip_search: shares of the largest magnitude that are tried"};
CADDIE_API StepSettings step_settings(const Options& options);

// weight float32 [R, C] -> float32 [R], positive. Throws Error(usage) unless 2 <= bits <= 8 and some clip is given.
CADDIE_API at::Tensor row_steps(const at::Tensor& weight, int bits, const StepSettings& settings);
// round(weight / step), halves to even, cut to -top and top: int8 [R, C]. steps [R] or [R, G] as in QuantizedTensor.
CADDIE_API at::Tensor round_rows(const at::Tensor& weight, const at::Tensor& steps, int bits);
// Groups of about `width` columns (0: all): how many steps a row has, none of them without a column.
CADDIE_API std::int64_t step_groups(std::int64_t columns, std::int64_t width);

// For matrices of normal numbers, steps included.
CADDIE_API ExpectedSize expected_row_codes(int bits, std::int64_t rows, std::int64_t columns,
                                           const StepSettings& settings);

// Rows of an option table for a low-rank residual.
inline constexpr OptionSpec kRankOption = {
    "low_rank", OptionType::integer, "0", "0", "256", nullptr,
    "rank of a correction that is stored beside the codes (LQER); 0: none"};
inline constexpr OptionSpec kRankTypeOption = {"low_rank_dtype", OptionType::text, "\"int8\"", nullptr, nullptr,
                                               "int8|float16", "how its two factors are stored"};

// The best correction of that rank to `residual` [R, C] (weight minus decoded codes): its largest singular vectors, each
// factor with the square root of the singular values. With `importance` float32 [C], positive, errors of column c count
// importance[c] times (the diagonal of a Hessian: errors of the outputs). Computed in float64.
CADDIE_API LowRank low_rank_residual(const at::Tensor& residual, std::int64_t rank, bool int8,
                                     const at::Tensor& importance = {});
CADDIE_API ExpectedSize expected_low_rank(std::int64_t rows, std::int64_t columns, std::int64_t rank, bool int8);
// Adds the correction to a tensor that has its codes and steps.
CADDIE_API void add_low_rank(QuantizedTensor& tensor, const at::Tensor& weight, std::int64_t rank, bool int8,
                             const at::Tensor& importance = {});

}  // namespace caddie
