// Tensor operations of the training and scoring paths, for models and optimizers. Each has one oracle in plain ATen
// (core/ops/reference) and fast kernels; a test compares values and gradients. All are differentiable where that makes
// sense. Shapes: B batch, T sequence, D width, H heads, K key/value heads, h head size, V vocabulary.
// Activations x are float32 or bfloat16; sums, norms and softmax are float32 inside.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "caddie/export.h"

namespace caddie::ops {

// Machine epsilon of float32, for every precision (reference section 2).
inline constexpr double kNormEpsilon = 1.1920928955078125e-07;

// x / sqrt(mean(x^2) + 2^-23) over the last dimension; no weight.
CADDIE_API at::Tensor rms_norm(const at::Tensor& x);

// mix[0] * x + mix[1] * x0. x, x0 [.., D]; mix float32 [2, D].
CADDIE_API at::Tensor residual_mix(const at::Tensor& x, const at::Tensor& x0, const at::Tensor& mix);

// x + scale * y. x, y [.., D]; scale float32 [D].
CADDIE_API at::Tensor scaled_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& scale);

// x W^T where the product uses `compute` (a low-precision or fake-quantized copy of `weight`, or `weight` itself) and the
// gradient goes to `weight` unchanged (straight-through). x [.., in], weight float32 [out, in].
CADDIE_API at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& compute);

// The same for weights that share the input: `compute` holds their copies one below the other, and the result their
// outputs side by side. x [.., in], weights float32 [out_i, in], compute [sum of out_i, in].
CADDIE_API at::Tensor linear_stacked(const at::Tensor& x, at::TensorList weights, const at::Tensor& compute);

// How the rotation's tables are made (reference section 2): in float32; or as the reference's half-precision script makes
// them, compiled (exact positions times bf16 frequencies, cos and sin rounded to bf16) or uncompiled (positions and
// angles are rounded to bf16 too). Returned in float32 whatever the rounding.
enum class RopeTables { float32, bf16_compiled, bf16_eager };
// cos, sin tables [length, h/2], float32: angle(t, i) = t base^(-2i/h).
CADDIE_API std::pair<at::Tensor, at::Tensor> rope_tables(std::int64_t length, std::int64_t head, double base,
                                                         RopeTables kind = RopeTables::float32);
// x [B, T, n, h] -> halves rotated: (a cos + b sin, b cos - a sin).
CADDIE_API at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
// RMS norm over h, rotation, then times gain[n] (undefined gain: 1). x [B, T, n, h]; gain float32 [n].
CADDIE_API at::Tensor norm_rope_gain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                     const at::Tensor& gain);

// Causal softmax attention with grouped keys and values, scores scaled by 1/sqrt(h).
// q [B, T, H, h]; k, v [B, S, K, h] with S >= T: the queries are the last T of S positions. Returns [B, T, H, h].
CADDIE_API at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
// Exclusive self attention: y - (y . u) u with u = v / max(|v|, 1e-12) at the same position; query head j uses key/value
// head j / (H / K). y [B, T, H, h], v [B, T, K, h].
CADDIE_API at::Tensor exclude_self(const at::Tensor& y, const at::Tensor& v);

// A block's attention between its projections, in one: qkv [B, T, (H + 2 K) h] holds queries, keys and values side by side;
// norm_rope_gain on q (with gain [H]) and k, causal attention, and exclude_self if `exclude`. cos, sin [T, h/2].
// Returns [B, T, H h].
CADDIE_API at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                                     const at::Tensor& gain, std::int64_t kv_heads, bool exclude);

// The same for the positions [position, position + T) of sequences that are being continued: keys and values [B, capacity, K, h]
// hold those of earlier positions, and get those of the new ones. cos, sin [T, h/2] are of the new positions. No gradients.
CADDIE_API at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                                       const at::Tensor& gain, const at::Tensor& keys, const at::Tensor& values,
                                       std::int64_t position, bool exclude);
// The same for one position, the number `position` of which, int64 [1], lies on the device. cos, sin [capacity, h/2] are of all
// positions.
CADDIE_API at::Tensor cached_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                                       const at::Tensor& gain, const at::Tensor& keys, const at::Tensor& values,
                                       const at::Tensor& position, bool exclude);

// LeakyReLU(x, slope)^2.
CADDIE_API at::Tensor squared_leaky_relu(const at::Tensor& x, double slope);

// Nats of each row: z = x E^T capped to c tanh(z / c), cross entropy in float32. x [N, D], compute = the compute copy of
// `embedding` [V, D] (as in linear), targets int64 [N]; returns float32 [N].
CADDIE_API at::Tensor softcap_cross_entropy(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                            const at::Tensor& targets, double cap);

// Half a block in one: large enough that a row's values stay in a processor's cache from input to output, and nothing in
// between is written to memory but what backward needs. Without such a kernel they are the sequence of ops above.
struct AttentionHalf {
  at::Tensor mix;                  // [2, D]
  at::Tensor query, key, value;    // [H h, D], [K h, D], [K h, D]
  at::Tensor qkv_compute;          // their compute copies, one below the other
  at::Tensor gain;                 // [H]
  at::Tensor output, output_compute;  // [D, H h]
  at::Tensor scale;                // [D]
  std::int64_t kv_heads;
  bool exclude;                    // exclusive self attention
};
// m + scale * linear(self_attention(linear_stacked(rms_norm(m)))), m = residual_mix(x, x0). x, x0 [B, T, D].
// Only the positions from `from` on are returned, [B, T - from, D], and computed where that saves time.
CADDIE_API at::Tensor attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights,
                                     const at::Tensor& cos, const at::Tensor& sin, std::int64_t from = 0);
// The same, and x0 once more, for whoever needs x0 next: gradients of x0 that come along it are added inside the kernels.
struct Passed {
  at::Tensor out, x0;
};
CADDIE_API Passed attention_half_passing(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights,
                                         const at::Tensor& cos, const at::Tensor& sin, std::int64_t from = 0);
// The same for one position more of sequences that are being continued, as cached_attention has it. x, x0 [B, 1, D]. No gradients.
CADDIE_API at::Tensor cached_attention_half(const at::Tensor& x, const at::Tensor& x0, const AttentionHalf& weights,
                                            const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& keys,
                                            const at::Tensor& values, const at::Tensor& position);
struct MlpHalf {
  at::Tensor up, up_compute;      // [M, D]
  at::Tensor down, down_compute;  // [D, M]
  at::Tensor scale;               // [D]
  double slope;
};
// x + scale * linear(squared_leaky_relu(linear(rms_norm(x)))). x [.., D].
CADDIE_API at::Tensor mlp_half(const at::Tensor& x, const MlpHalf& weights);
// softcap_cross_entropy(rms_norm(x), ...): nats of each row, and their mean. The mean's gradient is made in the same pass.
CADDIE_API at::Tensor head_nats(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                const at::Tensor& targets, double cap);
CADDIE_API at::Tensor head_loss(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute,
                                const at::Tensor& targets, double cap);
// The logits themselves, float32 [.., V], of normed rows: products are rounded to the type of x first. Cap 0: none. No gradients.
CADDIE_API at::Tensor head_logits(const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& compute, double cap);
// rms_norm(embedding[tokens]) in `type`. tokens int64 of any shape; embedding float32 [V, D].
CADDIE_API at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& embedding, at::ScalarType type);

// Per-row absmax fake quantization: step = max(absmax, 1e-12) / top, round half to even, clamp to +-top, times step;
// top = 2^(bits-1) - 1; float32, true divisions. Exact in IEEE arithmetic.
CADDIE_API at::Tensor fake_quantize_rows(const at::Tensor& weight, int bits);
// The codes (int8) and float32 steps of the same rounding.
CADDIE_API std::pair<at::Tensor, at::Tensor> quantize_rows(const at::Tensor& weight, int bits);

// U of inverse(H) = U^T U, upper triangular, for positive definite matrices h, float32 [n, C, C], without inverting them: H = V V^T
// with V upper ("reverse" Cholesky), and U = inverse(V). Second: bool [n], on the device, whether a matrix had one.
CADDIE_API std::pair<at::Tensor, at::Tensor> inverse_factor(const at::Tensor& h);
// GPTQ's column loop for n matrices with a factor each (Frantar et al., 2022): codes int8 [n, C, R] of the columns in order, round
// to nearest with the row's step, halves to even, cut to -top and top, each error spread over the later columns. values
// float32 [n, C, R] (a matrix's rows side by side), steps [n, R] and upper [n, C, C], as inverse_factor has it; `block` columns at
// a time, which changes rounding errors only.
CADDIE_API at::Tensor round_with_feedback(const at::Tensor& values, const at::Tensor& steps, const at::Tensor& upper, int top,
                                          std::int64_t block);

// Added to the norm that Newton-Schulz starts with.
inline constexpr double kNewtonSchulzEpsilon = 1e-7;
// Newton-Schulz iteration towards the nearest semi-orthogonal matrix: x = g / (|g|_F + epsilon), transposed if rows >
// columns, `steps` times A = x x^T, x = a x + (b A + c A^2) x, transposed back. g [R, C] or [n, R, C]; with
// `bfloat16` every operation's result is rounded to bfloat16. Returns float32 or bfloat16 accordingly.
CADDIE_API at::Tensor newton_schulz(const at::Tensor& g, int steps, double a, double b, double c, bool bfloat16,
                                    double epsilon = kNewtonSchulzEpsilon);
// The same with coefficients a, b, c of its own for each step; x = g / (margin |g|_F + epsilon).
using NewtonSchulzStep = std::array<double, 3>;
CADDIE_API at::Tensor newton_schulz(const at::Tensor& g, std::span<const NewtonSchulzStep> steps, bool bfloat16,
                                    double margin = 1, double epsilon = kNewtonSchulzEpsilon);

// U diag(S_1 k^(-power)) V^T: the singular values replaced by a power law (k from 1).
CADDIE_API at::Tensor power_law_spectrum(const at::Tensor& matrix, double power);

// True while the oracles are to be used in place of the fast kernels (tests, `--oracle`).
CADDIE_API void use_oracles(bool on);
CADDIE_API bool using_oracles();
// Names what computes the ops now: "oracle", or the kernels' instruction set.
CADDIE_API std::string kernels(at::Device device, at::ScalarType type);

}  // namespace caddie::ops
