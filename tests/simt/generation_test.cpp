// What generation launches for one position of a few sequences, and the choice of the next token: against the oracles.
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "core/ops/pick_next.h"
#include "core/ops/recorded.h"
#include "tests/simt/compare.h"

using namespace caddie::simt_test;
namespace ops = caddie::ops;

namespace {

at::Tensor mlp(const at::Tensor& x, const ops::MlpHalf& weights) {
#ifdef CADDIE_TEST_EMULATED
  return subject::few_rows_mlp_half(x, weights);
#else
  return ops::mlp_half(x, weights);
#endif
}
at::Tensor logits(const at::Tensor& x, const at::Tensor& map, double cap) {
#ifdef CADDIE_TEST_EMULATED
  return subject::head_logits(x, map, cap);
#else
  return ops::head_logits(x, map, map, cap);
#endif
}
void pick(const at::Tensor& logits, const at::Tensor& levels, at::Tensor& position, double temperature, at::Tensor& next,
          at::Tensor& tokens) {
  subject::pick_next(logits, levels, position, temperature, next, tokens);
}

#ifdef CADDIE_TEST_EMULATED
bool emulated() { return true; }
bool both_ways() { return true; }  // early launches alone: what is late there shows, and time is short
#else
bool emulated() { return false; }
bool both_ways() { return GENERATE(false, true); }
#endif

// Launches may begin early behind this, once all up to `last` is there.
bool ready(const at::Tensor& last) { return last.sum().item<double>() != 0.1; }

}  // namespace

TEST_CASE("products of few rows with what surrounds them") {
  if (skip()) return;
  const at::NoGradGuard guard;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t rows, width, hidden; };
  const auto size = GENERATE(Size{1, 8, 1840}, Size{16, 72, 24}, Size{33, 264, 720}, Size{17, 264, 32}, Size{5, 512, 40});
  const bool early_launches = both_ways(), slow = emulated() && type == at::kFloat;
  if (slow && size.hidden > 100) {
    SUCCEED("one kernel for all sizes");
    return;
  }
  Draw draw(20);
  const auto x = draw.normal({size.rows, 1, size.width}).to(type), scale = draw.normal({size.width}, 0.5, 1);
  const auto up = draw.normal({size.hidden, size.width}, 0.3).to(type), down = draw.normal({size.width, size.hidden}, 0.3).to(type);
  const auto odd = draw.normal({13, size.width}, 0.3).to(type);  // outputs that fill no block
  const ops::EarlyLaunches early(early_launches && ready(odd));
  compare([&] { return mlp(x, {up, up, down, down, scale, 0.5}); },
          [&] { return ops::mlp_half(x, {up, up, down, down, scale, 0.5}); }, {}, tolerance_of(type));
  for (const double cap : {30.0, 0.0})
    compare([&] { return logits(x, up, cap); }, [&] { return ops::head_logits(x, up, up, cap); }, {}, tolerance_of(type));
  compare([&] { return logits(x, odd, 30); }, [&] { return ops::head_logits(x, odd, odd, 30); }, {}, tolerance_of(type));
}

TEST_CASE("a block's first half for one position more") {
  if (skip()) return;
  const at::NoGradGuard guard;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t batch, heads, kv_heads, head; };
  const auto size = GENERATE(Size{3, 2, 1, 16}, Size{2, 1, 1, 64}, Size{1, 2, 1, 32}, Size{1, 1, 1, 128}, Size{17, 2, 2, 8},
                             Size{1, 5, 1, 128});
  const bool early_launches = both_ways(), slow = emulated() && type == at::kFloat;
  if (slow && size.heads > 2) {
    SUCCEED("one kernel for all widths");
    return;
  }
  const bool exclude = size.batch > 1;
  Draw draw(21);
  const auto width = size.heads * size.head, kv = size.kv_heads * size.head;
  const auto mix = draw.normal({2, width}, 0.3, 1), gain = draw.normal({size.heads}), scale = draw.normal({width}, 0.5, 1);
  const auto qkv = draw.normal({width + 2 * kv, width}, 0.3).to(type), output = draw.normal({width, width}, 0.3).to(type);
  const ops::AttentionHalf weights{mix, qkv, qkv, qkv, qkv, gain, output, output, scale, size.kv_heads, exclude};
  const std::int64_t capacity = 80;
  const auto tables = ops::rope_tables(capacity, size.head, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  auto keys = draw.normal({size.batch, capacity, size.kv_heads, size.head}).to(type);
  auto values = draw.normal({size.batch, capacity, size.kv_heads, size.head}).to(type);
  const ops::EarlyLaunches early(early_launches && ready(values));
  for (const std::int64_t position : {0, 79}) {
    const auto x = draw.normal({size.batch, 1, width}).to(type), x0 = draw.normal({size.batch, 1, width}).to(type);
    const auto at = at::full({1}, position, at::kLong).to(device());
    const auto other_keys = keys.clone(), other_values = values.clone();
    const auto fast = subject::cached_attention_half(x, x0, weights, cos, sin, keys, values, at);
    const Oracle on;
    const auto expected = ops::cached_attention_half(x, x0, weights, cos, sin, other_keys, other_values, at);
    CHECK(relative(fast, expected) < 2 * tolerance_of(type));
    CHECK(relative(keys, other_keys) < tolerance_of(type));
    CHECK(relative(values, other_values) < tolerance_of(type));
  }
}

TEST_CASE("the next token is the one that the plain sampler picks") {
  if (skip()) return;
  const at::NoGradGuard guard;
  Draw draw(22);
  const std::int64_t vocabulary = GENERATE(1, 7, 300, 1031), rows = vocabulary > 1000 ? 2 : 9, length = 6;
  const double temperature = GENERATE(1.0, 0.3, 0.0);
  const auto scores = draw.normal({rows, vocabulary}, 3);
  if (vocabulary > 5) scores.select(1, 3).copy_(scores.select(1, 5));  // a tie
  caddie::Random random(5, "levels");
  auto levels = at::zeros({length, rows}, at::kDouble);
  for (std::int64_t i = 0; i < levels.numel(); ++i) levels.mutable_data_ptr<double>()[i] = random.uniform();
  levels.mutable_data_ptr<double>()[0] = 0;
  levels.mutable_data_ptr<double>()[rows] = 1 - 1e-16;
  levels = levels.to(device());
  for (const std::int64_t at : {0, 1, 4, 5}) {
    auto position = at::full({1}, at, at::kLong).to(device()), other_position = position.clone();
    auto next = at::zeros({rows, 1}, at::kLong).to(device()), tokens = at::zeros({rows, length}, at::kLong).to(device());
    auto other_next = next.clone(), other_tokens = tokens.clone();
    {
      const ops::EarlyLaunches early(at > 0 && ready(position));
      pick(scores, levels, position, temperature, next, tokens);
    }
    const Oracle on;
    ops::pick_next(scores, levels, other_position, temperature, other_next, other_tokens);
    CHECK(position.equal(other_position));
    CHECK(position.item<std::int64_t>() == at + 1);
    CHECK(next.equal(other_next));
    CHECK(tokens.equal(other_tokens));
  }
}
