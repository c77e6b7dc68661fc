// Output map and loss: logits of a tile of rows in the thread's cache, their cap, cross entropy, and, if gradients are
// wanted, the way back in the same pass. The logits of all rows never exist at once.
#pragma once

#include <omp.h>

#include "core/ops/cpu/kernels.h"
#include "core/ops/cpu/simd/rows.h"

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

constexpr Index kHeadTile = 4 * kRows;

template <class T>
void head_typed(const Common& common, const Head& h) {
  using O = Operand<T>;
  using W = Word<O>;
  const Index width = h.width, vocabulary = h.vocabulary, rows = h.rows;
  const bool back = h.x_gradient != nullptr;
  const auto *x = static_cast<const T*>(h.x), *embedding = static_cast<const T*>(h.embedding);
  const Index sum_size = vocabulary * padded(width);
  W *forward_packed = nullptr, *backward_packed = nullptr;
  float* sums = nullptr;
  const auto carve_shared = [&](void* block) {
    Carver carver(block);
    forward_packed = carver.take<W>(panel_words<O>(width, vocabulary));
    if (back) {
      backward_packed = carver.take<W>(panel_words<O>(vocabulary, width));
      sums = carver.take<float>(common.threads * sum_size);
    }
    return carver.used();
  };
  carve_shared(common.scratch(0, carve_shared(nullptr)));
  const Index logit_row = padded(vocabulary), operand_width = operand_row<O>(width), change_row = operand_row<O>(vocabulary);
  const float cap = h.cap, inverse_cap = 1.0F / h.cap;

#pragma omp parallel num_threads(common.threads)
  {
    const Index team = omp_get_num_threads();
    float* sum_of_team = sums + (back ? omp_get_thread_num() * sum_size : 0);
    if (back) clear(sum_of_team, sum_size);
    const auto panels = pack_transposed<O>(embedding, width, vocabulary, forward_packed);
    Right<W> back_panels{nullptr, 0};
    if (back) back_panels = pack_rows<O>(embedding, vocabulary, width, backward_packed);

    float *logits = nullptr, *normed = nullptr, *inverses = nullptr, *changed = nullptr;
    O *operands = nullptr, *change = nullptr;
    W *columns = nullptr, *row_panels = nullptr;
    const auto carve = [&](void* block) {
      Carver carver(block);
      operands = carver.take<O>(kHeadTile * operand_width);
      logits = carver.take<float>(kHeadTile * logit_row);
      inverses = carver.take<float>(kHeadTile);
      if (back) {
        normed = carver.take<float>(kHeadTile * width);
        changed = carver.take<float>(kHeadTile * padded(width));
        change = carver.take<O>(kHeadTile * change_row);
        columns = carver.take<W>(column_words<O>(kHeadTile, vocabulary));
        row_panels = carver.take<W>(panel_words<O>(kHeadTile, width));
      }
      return carver.used();
    };
    carve(common.scratch(1, carve(nullptr)));

#pragma omp for schedule(static)
    for (Index first = 0; first < rows; first += kHeadTile) {
      const Index count = smaller(kHeadTile, rows - first);
      for (Index r = 0; r < count; ++r) {
        const T* row = x + (first + r) * width;
        inverses[r] = h.normed ? inverse_rms(sum_of_squares(row, width), width) : 1.0F;
        scale_row(row, inverses[r], width, operands + r * operand_width);
        if (back) scale_row(row, inverses[r], width, normed + r * width);
      }
      product(left(operands, operand_width), count, panels, words<O>(width), panels_of(vocabulary), logits, logit_row, false);
      for (Index r = 0; r < count; ++r) {
        const Index n = first + r;
        float* row = logits + r * logit_row;
        float top = -1.0F;
#pragma omp simd reduction(max : top)
        for (Index j = 0; j < vocabulary; ++j) {
          row[j] = tanh_of(row[j] * inverse_cap);
          top = larger(row[j], top);
        }
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Index j = 0; j < vocabulary; ++j) sum += exp_of(cap * (row[j] - top));
        const float log_sum = cap * top + __builtin_logf(sum);
        const Index target = h.targets[n];
        if (h.nats != nullptr) h.nats[n] = log_sum - cap * row[target];
        if (!back) continue;
        const float weight = h.row_gradient != nullptr ? h.row_gradient[n] : h.gradient;
        const float at_target = weight * (1.0F - row[target] * row[target]);
        O* to = change + r * change_row;
        // d nats / d z = (probability - [target]) (1 - tanh^2)
#pragma omp simd
        for (Index j = 0; j < vocabulary; ++j) {
          row[j] = weight * (1.0F - row[j] * row[j]) * exp_of(cap * row[j] - log_sum);
        }
        row[target] -= at_target;
#pragma omp simd
        for (Index j = 0; j < vocabulary; ++j) operand<T>(row[j], to[j]);
        pad_operand(to, vocabulary);
      }
      if (!back) continue;
      product(left(change, change_row), count, back_panels, words<O>(vocabulary), panels_of(width), changed, padded(width), false);
      pack_columns<O>(change, change_row, count, vocabulary, columns);
      product_packed(columns, vocabulary, pack_tile<O>(normed, width, count, width, row_panels), words<O>(count),
                     panels_of(width), sum_of_team, padded(width), true);
      for (Index r = 0; r < count; ++r) {
        float* row = changed + r * padded(width);
        if (h.normed) norm_backward_row(row, normed + r * width, inverses[r], width);
        T* to = static_cast<T*>(h.x_gradient) + (first + r) * width;
#pragma omp simd
        for (Index j = 0; j < width; ++j) narrow(row[j], to[j]);
      }
    }
    if (back) {
#pragma omp for schedule(static)
      for (Index i = 0; i < vocabulary; ++i) {
        sum_rows(sums, team, sum_size, i, padded(width));
        const float* from = sums + i * padded(width);
        float* to = h.embedding_gradient + i * width;
#pragma omp simd
        for (Index j = 0; j < width; ++j) to[j] = from[j];
      }
    }
  }
}

}  // namespace
}  // namespace caddie::ops::cpu::CADDIE_ISA
