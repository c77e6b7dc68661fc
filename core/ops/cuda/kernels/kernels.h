// The CUDA kernels' launches: plain pointers into device memory, and a stream. Neither LibTorch nor CUDA is included here;
// the .cu files know nothing of tensors. What a width or a number of heads must fulfil is said by the fits() functions.
// Unless a type is written, a `void*` array has the launch's type (float32 or bfloat16); arithmetic is float32.
#pragma once

#include <cstdint>

namespace caddie::ops::cuda {

using Index = std::int64_t;

struct Launch {
  void* stream;
  bool bfloat16;
  bool early = false;  // kernels of generation: simt.h, launch_early; their weights, gains and tables must be written by then
};

// The error of a launch before, or null. Takes it away.
const char* launch_error();

// Sums over rows are made by blocks first: room for their partial sums, float32 [kPartials x columns].
inline constexpr Index kPartials = 528;

// ---- rows ----------------------------------------------------------------------------------------------------------
bool row_width_fits(Index width);

// out = mix[0] x + mix[1] x0, norm = 1 / rms(out) [rows], null if not wanted.
struct MixNorm {
  Index rows, width;
  const void *x, *x0;
  const float* mix;
  void* out;
  float* norm;
};
void mix_norm(const Launch&, const MixNorm&);

// norm = 1 / rms(x); if given: copy = x, normed = x / rms(x).
struct RowNorm {
  Index rows, width;
  const void* x;
  void *copy, *normed;
  float* norm;
};
void row_norm(const Launch&, const RowNorm&);

// out = x + scale y; scale float32 [width].
struct ScaledAdd {
  Index rows, width;
  const void *x, *y;
  const float* scale;
  void* out;
};
void scaled_add(const Launch&, const ScaledAdd&);
// y_gradient = scale gradient; scale_gradient = sum of y gradient.
struct ScaledAddBackward {
  Index rows, width;
  const void *y, *gradient;
  const float* scale;
  void* y_gradient;
  float *scale_gradient, *partials;
};
void scaled_add_backward(const Launch&, const ScaledAddBackward&);

// Through n = x / rms(x) and the product behind it: `product` is the gradient of n times norm. x_gradient = *factor (product -
// norm^2 x mean(product x)) + gradient; factor and gradient may be null.
struct NormBackward {
  Index rows, width;
  const void *gradient, *product, *x;
  const float *norm, *factor;
  void* x_gradient;
};
void norm_backward(const Launch&, const NormBackward&);
// The same with gradient, and x = mix[0] before + mix[1] before0, made again and written to `mixed`: with d the gradient of x,
// x_gradient = mix[0] d, x0_gradient = mix[1] d + more0 (null: 0), mix_gradient = sums of d before and d before0.
struct MixBackward {
  Index rows, width;
  const void *gradient, *product, *before, *before0, *more0;
  const float *norm, *mix;
  void *mixed, *x_gradient, *x0_gradient;
  float *mix_gradient, *partials;  // partials: kPartials x 2 width
};
void mix_backward(const Launch&, const MixBackward&);

// out = r / rms(r), r = the row of the float32 embedding rounded to the type. tokens [rows] must lie below vocabulary: one
// that does not gives a row of NaN.
struct Embed {
  Index rows, width, vocabulary;
  const std::int64_t* tokens;
  const float* embedding;
  void* out;
  float* norm;
};
void embed(const Launch&, const Embed&);
// row_gradient float32 [rows, width]: the gradient of r.
struct EmbedBackward {
  Index rows, width;
  const void *out, *gradient;
  const float* norm;
  float* row_gradient;
};
void embed_backward(const Launch&, const EmbedBackward&);

// ---- heads ---------------------------------------------------------------------------------------------------------
bool heads_fit(Index heads, Index kv_heads, Index head);

// In place on a product [rows, (heads + 2 kv_heads) head] of rows that were not normed: times norm (null: 1); then queries and
// keys normed over a head, rotated, and queries times gain (null: 1). Position of row i: i % length.
struct Heads {
  Index rows, length, heads, kv_heads, head;
  void* qkv;
  const float *norm, *cos, *sin, *gain;
  float* head_norm;  // [rows, heads + kv_heads], null if not wanted
};
void heads_forward(const Launch&, const Heads&);
// From the gradients of rotated queries [rows, heads, head], keys and values [rows, kv_heads, head] to that of the product,
// times norm once more: what norm_backward takes after the matrix product. more_value: added to value, null if none. query_sums: the
// queries' gradients as attend_backward leaves them; then it is only the queries' columns that are written.
struct HeadsBackward {
  Index rows, length, heads, kv_heads, head;
  const void *qkv, *query, *key, *value, *more_value;
  const float *norm, *head_norm, *cos, *sin, *gain;
  void* product;
  float *gain_gradient, *partials;  // partials: kPartials x heads
  const float* query_sums = nullptr;
};
void heads_backward(const Launch&, const HeadsBackward&);

// Exclusive self attention. y, out [rows, heads, head]; v's heads begin `value_stride` elements apart from row to row.
struct Exclude {
  Index rows, heads, kv_heads, head, value_stride;
  const void *y, *value;
  void* out;
};
void exclude(const Launch&, const Exclude&);
// y_gradient may be gradient's own place. value_gradient [rows, kv_heads, head].
struct ExcludeBackward {
  Index rows, heads, kv_heads, head, value_stride;
  const void *y, *value, *gradient;
  void *y_gradient, *value_gradient;
};
void exclude_backward(const Launch&, const ExcludeBackward&);

// Causal attention with heads of 64 channels, in bfloat16 on compute capability 9.0. qkv [batch length, (heads + 2 kv_heads) 64], queries
// and keys normed over their heads and rotated, queries times `gain` [heads]; values, what comes out, [batch length, heads 64];
// log_sum [batch, heads, length], the logarithm of the softmax's sum, null if not wanted.
bool attend_forward_fits(const Launch&, Index length, Index heads, Index kv_heads, Index head);
struct AttendForward {
  Index batch, length, heads, kv_heads;
  const void* qkv;
  const float* gain;
  void* values;
  float* log_sum;
};
void attend_forward(const Launch&, const AttendForward&);
// The backward pass of causal attention with heads of 64 channels, in bfloat16 on compute capability 9.0. qkv [batch length, (heads +
// 2 kv_heads) 64]; values (what attention gave) and gradient [batch length, heads 64]; log_sum [batch, heads, length], the logarithm
// of the softmax's sum. For keys and values it is heads_backward, too, with what that needs: their columns of `product` are written.
// query_sums: the gradient of the rotated queries in float32, as many floats as there are queries' channels, in an order of its own.
// statistics: 2 batch heads length floats to work with.
bool attend_backward_fits(const Launch&, Index length, Index heads, Index kv_heads, Index head);
struct AttendBackward {
  Index batch, length, heads, kv_heads;
  const void *qkv, *values, *gradient;
  const float* log_sum;
  float *statistics, *query_sums;
  const void* more_value;
  const float *norm, *head_norm, *cos, *sin;
  void* product;
};
void attend_backward(const Launch&, const AttendBackward&);
void attend_statistics(const Launch&, const AttendBackward&);  // its first part: statistics [batch, heads, 2, length], and zeros
// query_sums: [batch, heads, length / 64] blocks of 64 queries, each [8][2][4][8][8] as the lanes of four warps hold a product: eight
// channels in a row; then bits 0 to 2 of the query, bits 4 and 5, bit 3, and which eight channels.
inline constexpr int kQueryBlock = 64, kQueryFloats = kQueryBlock * 64;

// One new position of each sequence: qkv [sequences, (heads + 2 kv_heads) head] as a product gave it; keys and values [sequences,
// capacity, kv_heads, head] hold the positions before `position` and get the new one; cos, sin [head / 2] of this position. With
// `at` the position is read from the device, and cos, sin are those of all positions.
bool decode_fits(Index heads, Index kv_heads, Index head);
struct Decode {
  Index sequences, capacity, position, heads, kv_heads, head;
  const void* qkv;
  const float *cos, *sin, *gain;
  void *keys, *values, *out;
  bool exclude;
  const std::int64_t* at = nullptr;
};
void decode(const Launch&, const Decode&);

// ---- generation ----------------------------------------------------------------------------------------------------
// product = n(m) W^T: m = mix[0] x + mix[1] x0, rounded and written to `mixed` (null: not wanted), or x where x0 is null; n: the norm
// of rows, or nothing. out = product; or LeakyReLU(product, slope)^2; or residual + scale product; or, in float32, `logits` =
// cap tanh(product / cap) (cap 0: product). x [rows, inputs], W [outputs, inputs]. out must be none of what is read.
bool few_rows_fit(Index rows, Index inputs);
struct FewRows {
  Index rows, inputs, outputs;
  const void *x, *weight;
  bool norm;
  void* out;
  const void* x0 = nullptr;
  const float* mix = nullptr;
  void* mixed = nullptr;
  bool activate = false;
  float slope = 0;
  const void* residual = nullptr;
  const float* scale = nullptr;
  float* logits = nullptr;
  float cap = 0;
};
void few_rows(const Launch&, const FewRows&);

// next[r], and tokens[r, p + 1] where there is a place for it, p = *position: the first token whose cumulated probability at this
// temperature exceeds levels[p, r] (0: the first of the likeliest); then p + 1 is the position. logits [rows, vocabulary]; tokens [rows, length] or null.
struct Sample {
  Index rows, vocabulary, length;
  const float* logits;
  const double* levels;
  std::int64_t* position;
  double temperature;
  std::int64_t *next, *tokens;
};
void sample(const Launch&, const Sample&);

// ---- quantization --------------------------------------------------------------------------------------------------
inline constexpr Index kFactorBlock = 64;
// For each matrix a symmetric block [size, size] (size <= kFactorBlock; the lower triangle is read) becomes its Cholesky factor, and
// `inverse` that factor's inverse, zeros above their diagonals. good[matrix] = 0 where there is no factor, else untouched.
struct FactorBlock {
  Index matrices, size, matrix_stride, row_stride, inverse_stride, inverse_row_stride;
  float *matrix, *inverse;
  std::uint8_t* good;
};
void factor_block(const Launch&, const FactorBlock&);
// Columns [first, first + count) of values [matrices, columns, rows], count <= kFactorBlock: codes and errors of the same
// shape (caddie/ops.h, round_with_feedback). steps [matrices, rows], upper [matrices, columns, columns].
struct Feedback {
  Index matrices, columns, rows, first, count;
  const float *values, *steps, *upper;
  float top;
  float* errors;
  std::int8_t* codes;
};
void feedback(const Launch&, const Feedback&);

// ---- activation ----------------------------------------------------------------------------------------------------
// out = LeakyReLU(norm x, slope)^2, in place if out is x. norm [rows] (null: 1). signs [rows, (hidden + 7) / 8]: bit i of
// byte j is set where column 8 j + i is positive; null if not wanted.
struct Activate {
  Index rows, hidden;
  const void* x;
  const float* norm;
  float slope;
  void* out;
  std::uint8_t* signs;
};
void activate(const Launch&, const Activate&);
// In place: gradient of out -> gradient of norm x, times norm.
struct ActivateBackward {
  Index rows, hidden;
  const void* out;
  const float* norm;
  const std::uint8_t* signs;
  float slope;
  void* gradient;
};
void activate_backward(const Launch&, const ActivateBackward&);

// ---- products that are finished in registers: bfloat16, compute capability 9.0 ------------------------------------------
// x W^T of dense x [rows, inputs] and W [outputs, inputs]; the product itself is never written. The fits() look at the current
// device too.
struct Product {
  Index rows, inputs, outputs;
  const void *x, *weight;
};
bool product_fits(const Launch&, Index inputs, Index outputs);
bool product_heads_fit(const Launch&, Index inputs, Index heads, Index kv_heads, Index head);
// out [rows, outputs] = LeakyReLU(norm product, slope)^2. signs: product_signs_bytes, in an order of their own; null if not wanted.
Index product_signs_bytes(Index rows, Index outputs);
void product_activate(const Launch&, const Product&, const float* norm, float slope, void* out, std::uint8_t* signs);
// out = product times d activated / d (norm product), times norm: with activated and signs as product_activate left them.
void product_activate_backward(const Launch&, const Product&, const float* norm, float slope, const void* activated,
                               const std::uint8_t* signs, void* out);
// heads_forward of the product, to Heads::qkv.
void product_heads(const Launch&, const Product&, const Heads&);

// ---- loss ----------------------------------------------------------------------------------------------------------
// Of products [rows, vocabulary] of rows that were not normed: z = cap tanh(norm product / cap), nats = cross entropy. With
// `write`: products become the gradient of norm x product, times norm, times row_gradient[row] (null: times `weight`).
// A target outside of the vocabulary gives NaN. norm null: 1. nats null: not wanted.
struct CrossEntropy {
  Index rows, vocabulary;
  void* products;
  const float* norm;
  const std::int64_t* targets;
  float cap;
  float* nats;
  bool write;
  const float* row_gradient;
  float weight;
};
void cross_entropy(const Launch&, const CrossEntropy&);

// ---- weights -------------------------------------------------------------------------------------------------------
// out[j, k] = scale[j] weight[j, k], and transposed[k, j] the same if it is given.
struct ScaleRows {
  Index rows, columns;
  const void* weight;
  const float* scale;
  void* out;
  void* transposed = nullptr;
};
void scale_rows(const Launch&, const ScaleRows&);
// Of y = x + scale (h W^T), with product = gradient^T h: scale_gradient[j] = sum over k of product[j, k] W[j, k]; product
// becomes the gradient of W, scale[j] product[j, k].
struct ScaledWeightBackward {
  Index rows, columns;
  const void* weight;
  const float* scale;
  float *product, *scale_gradient;
};
void scaled_weight_backward(const Launch&, const ScaledWeightBackward&);

// Rows of a float32 weight rounded to 2 top + 1 levels: caddie/ops.h, fake_quantize_rows. A row with a NaN is NaN.
struct FakeQuantize {
  Index rows, columns;
  const float* weight;
  float top;
  float* out;
};
void fake_quantize(const Launch&, const FakeQuantize&);

}  // namespace caddie::ops::cuda
