// Halves of a block, the head and single rows by the CUDA kernels: values and all gradients against the oracles, at sizes that
// fill no vector, no warp and no block.
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include <limits>

#include "tests/simt/compare.h"

using namespace caddie::simt_test;
namespace ops = caddie::ops;

TEST_CASE("mlp_half by kernels") {
  if (skip()) return;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t rows, width, hidden; };
  // The last ones' products are finished in registers where a device does that.
  const auto size = GENERATE(Size{1, 8, 4}, Size{21, 33, 77}, Size{70, 48, 136}, Size{5, 320, 224}, Size{300, 64, 128},
                             Size{133, 192, 384});
  Draw draw(1);
  const auto x = draw.leaf({size.rows, size.width}), up = draw.leaf({size.hidden, size.width}, 0.3);
  const auto down = draw.leaf({size.width, size.hidden}, 0.3), scale = draw.leaf({size.width}, 0.5, 1);
  const auto run = [&](auto op) {
    return [&, op] { return op(x.to(type), ops::MlpHalf{up, up.detach().to(type), down, down.detach().to(type), scale, 0.5}); };
  };
  compare(run([](const auto& a, const auto& w) { return subject::mlp_half(a, w); }),
          run([](const auto& a, const auto& w) { return ops::mlp_half(a, w); }), {x, up, down, scale}, tolerance_of(type));
}

#ifndef CADDIE_TEST_EMULATED
// So many rows that every block of a kernel takes many tiles of them, its groups of warps in turn and its copies in rounds.
TEST_CASE("halves of many rows, in bfloat16") {
  if (skip()) return;
  constexpr std::int64_t kBatch = 43, kLength = 1003, kWidth = 128, kHead = 64;
  Draw draw(12);
  const auto x = draw.leaf({kBatch, kLength, kWidth}), x0 = draw.normal({kBatch, kLength, kWidth});
  const auto up = draw.normal({2 * kWidth, kWidth}, 0.1), down = draw.normal({kWidth, 2 * kWidth}, 0.1), scale = draw.normal({kWidth}, 0.3, 1);
  const auto qkv = draw.normal({2 * kWidth, kWidth}, 0.1), output = draw.normal({kWidth, kWidth}, 0.1);
  const auto mix = draw.normal({2, kWidth}, 0.3, 0.7), gain = draw.normal({2}, 0.3, 1.5);
  const auto tables = ops::rope_tables(kLength, kHead, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const auto bf16 = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
  const auto run = [&] {
    const ops::AttentionHalf first{mix, qkv.narrow(0, 0, kWidth), qkv.narrow(0, kWidth, kHead), qkv.narrow(0, kWidth + kHead, kHead),
                                   bf16(qkv), gain, output, bf16(output), scale, 1, true};
    const auto middle = ops::attention_half(bf16(x), bf16(x0), first, cos, sin);
    const auto out = ops::mlp_half(middle, {up, bf16(up), down, bf16(down), scale, 0.5});
    const auto weights = Draw(13).normal(out.sizes().vec()).to(at::kBFloat16);
    return std::vector<at::Tensor>{out.detach(), torch::autograd::grad({out}, {x}, {weights})[0]};
  };
  const auto got = run();
  const Oracle oracle;
  const auto expected = run();
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO((i == 0 ? "value" : "gradient"));
    const auto wide = expected[i].to(at::kFloat).view({-1, kWidth});
    const auto error = got[i].to(at::kFloat).view({-1, kWidth}).sub(wide).norm(2, 1, false).div(wide.norm(2, 1, false));
    CHECK(error.max().item<double>() < 0.15);  // of any row: one tile that is wrong has rows near 1
    CHECK(error.mean().item<double>() < 0.03);
  }
}

// Every kind of tile, forward and backward: of one tile and many, with the diagonal and without, query heads that share keys or not.
// In bfloat16 its distance from the float32 oracle must be of the order of the oracle's in bfloat16: both round where a product
// begins, at other places. A tile that is wrong or missing is off by a tenth and more.
TEST_CASE("attention on matrix units and its gradients, in bfloat16") {
  if (skip()) return;
  struct Size { std::int64_t batch, length, heads, kv_heads; double gain; };
  // The last gain is one for which exponents cannot be taken from a bound of the scores.
  const auto size = GENERATE(Size{1, 128, 2, 1, 1.5}, Size{3, 384, 4, 4, 1.5}, Size{2, 640, 8, 2, 3}, Size{2, 2048, 8, 4, 1.5},
                             Size{1, 384, 6, 2, 12});
  const bool exclude = GENERATE(false, true);
  CAPTURE(size.length, size.heads, size.kv_heads, size.gain, exclude);
  constexpr std::int64_t kHead = 64, kWidth = 128;
  Draw draw(21);
  const auto x = draw.leaf({size.batch, size.length, kWidth}), x0 = draw.leaf({size.batch, size.length, kWidth});
  const auto query = draw.leaf({size.heads * kHead, kWidth}, 0.1), key = draw.leaf({size.kv_heads * kHead, kWidth}, 0.1);
  const auto value = draw.leaf({size.kv_heads * kHead, kWidth}, 0.1), output = draw.leaf({kWidth, size.heads * kHead}, 0.1);
  const auto mix = draw.leaf({2, kWidth}, 0.3, 0.7), gain = draw.leaf({size.heads}, 0.3, size.gain), scale = draw.leaf({kWidth}, 0.3, 1);
  const auto stacked = at::cat({query.detach(), key.detach(), value.detach()}, 0);
  const auto tables = ops::rope_tables(size.length, kHead, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const auto run = [&](at::ScalarType type) {
    const ops::AttentionHalf weights{mix,    query, key, value, stacked.to(type), gain, output, output.detach().to(type), scale,
                                     size.kv_heads, exclude};
    return value_and_gradients([&] { return ops::attention_half(x.to(type), x0.to(type), weights, cos, sin); },
                               {x, x0, mix, query, key, value, output, gain, scale});
  };
  const auto got = run(at::kBFloat16);
  const Oracle oracle;
  const auto plain = run(at::kBFloat16), exact = run(at::kFloat);
  const char* names[] = {"value", "x", "x0", "mix", "query", "key", "value's weights", "output", "gain", "scale"};
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto wide = exact[i].to(at::kDouble);
    const auto error = [&](const at::Tensor& t) { return t.to(at::kDouble).sub(wide).square().sum().div(wide.square().sum()).sqrt().item<double>(); };
    CAPTURE(names[i], error(plain[i]));
    // A number a head, each a sum over everything in which most cancels: chance decides which way errs more. Where a query sees one
    // key only, what is left is the rounding of the attended values, of which kernels take the softmax's gradient.
    const double more = wide.numel() != size.heads ? 0.001 : size.gain < 4 ? 0.03 : 0.3;
    CHECK(error(got[i]) < 2 * error(plain[i]) + more);
  }
}
#endif

namespace {
at::Tensor half(const at::Tensor& x, const at::Tensor& x0, const ops::AttentionHalf& weights, const at::Tensor& cos,
                const at::Tensor& sin, std::int64_t from) {
#ifdef CADDIE_TEST_EMULATED
  return subject::attention_half(x, x0, weights, cos, sin, from).out;
#else
  return ops::attention_half(x, x0, weights, cos, sin, from);
#endif
}
ops::Passed passing(const at::Tensor& x, const at::Tensor& x0, const ops::AttentionHalf& weights, const at::Tensor& cos,
                    const at::Tensor& sin) {
#ifdef CADDIE_TEST_EMULATED
  if (!ops::using_oracles()) return subject::attention_half(x, x0, weights, cos, sin, 0);
#endif
  return ops::attention_half_passing(x, x0, weights, cos, sin);
}
}  // namespace

TEST_CASE("x0 passes through halves, its gradients are summed on the way") {
  if (skip()) return;
  Draw draw(9);
  const auto x = draw.leaf({1, 9, 16}), x0 = draw.leaf({1, 9, 16}), mix = draw.leaf({2, 16}, 0.3, 1), scale = draw.leaf({16});
  const auto gain = draw.leaf({2}, 0.1, 1), w = draw.leaf({16, 16}, 0.3);
  const auto stacked = at::cat({w.detach(), w.detach(), w.detach()}, 0);
  const auto tables = ops::rope_tables(9, 8, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const ops::AttentionHalf weights{mix, w, w, w, stacked, gain, w, w.detach(), scale, 2, false};
  const bool all = GENERATE(true, false);  // or x0 alone goes on
  const auto run = [&] {
    const auto first = passing(x, x0, weights, cos, sin);
    const auto second = passing(all ? first.out : x, first.x0, weights, cos, sin);
    return at::cat({second.out, second.x0.mul(2)}, 0);
  };
  compare(run, run, {x, x0, mix, w}, 3e-5);
}

TEST_CASE("attention_half by kernels") {
  if (skip()) return;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const bool exclude = GENERATE(false, true);
  struct Size { std::int64_t batch, length, heads, kv_heads, head; };
  const auto size = GENERATE(Size{2, 17, 6, 3, 8}, Size{1, 37, 4, 1, 16}, Size{3, 5, 2, 2, 10}, Size{2, 11, 3, 3, 32},
                             Size{5, 2, 2, 1, 18}, Size{1, 19, 4, 2, 64}, Size{3, 70, 2, 1, 64}, Size{1, 6, 1, 1, 256});
  Draw draw(2);
  const auto width = size.heads * size.head, kv_width = size.kv_heads * size.head;
  const double spread = 1 / std::sqrt(static_cast<double>(width));
  const auto x = draw.leaf({size.batch, size.length, width}), x0 = draw.leaf({size.batch, size.length, width});
  const auto mix = draw.leaf({2, width}, 0.3, 0.7), gain = draw.leaf({size.heads}, 0.3, 1.5), scale = draw.leaf({width}, 0.3, 1);
  const auto query = draw.leaf({width, width}, spread), key = draw.leaf({kv_width, width}, spread);
  const auto value = draw.leaf({kv_width, width}, spread), output = draw.leaf({width, width}, spread);
  const auto kind = exclude ? ops::RopeTables::bf16_compiled : ops::RopeTables::float32;
  const auto tables = ops::rope_tables(size.length, size.head, 10000, kind);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const auto stacked = at::cat({query.detach(), key.detach(), value.detach()}, 0);
  const ops::AttentionHalf weights{mix, query, key, value, stacked.to(type), gain, output, output.detach().to(type), scale,
                                   size.kv_heads, exclude};
  const std::int64_t from = size.batch > 1 ? 1 : 0;
  compare([&] { return half(x.to(type), x0.to(type), weights, cos, sin, from); },
          [&] { return ops::attention_half(x.to(type), x0.to(type), weights, cos, sin, from); },
          {x, x0, mix, query, key, value, gain, output, scale}, tolerance_of(type));
}

// What exclusion leaves of one position is rounding alone, so of its gradients nothing can be said.
TEST_CASE("attention_half of sequences of one position") {
  if (skip()) return;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const bool exclude = GENERATE(false, true);
  Draw draw(12);
  const auto x = draw.normal({3, 1, 64}).to(type), x0 = draw.normal({3, 1, 64}).to(type), mix = draw.normal({2, 64}, 0.3, 0.7);
  const auto gain = draw.normal({4}, 0.3, 1.5), scale = draw.normal({64}, 0.3, 1);
  const auto stacked = draw.normal({128, 64}, 0.2).to(type), output = draw.normal({64, 64}, 0.2).to(type);
  const auto tables = ops::rope_tables(1, 16, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const ops::AttentionHalf weights{mix, stacked, stacked, stacked, stacked, gain, output, output, scale, 2, exclude};
  compare([&] { return half(x, x0, weights, cos, sin, 0); }, [&] { return ops::attention_half(x, x0, weights, cos, sin, 0); }, {},
          tolerance_of(type));
}

TEST_CASE("exclusion of values that are zero, by kernels") {
  if (skip()) return;
  Draw draw(5);
  const auto x = draw.leaf({1, 9, 16}), value = draw.normal({16, 16}).zero_().set_requires_grad(true);
  const auto other = draw.leaf({16, 16}, 0.3), mix = draw.leaf({2, 16}, 0.3, 1), gain = draw.leaf({2}, 0.1, 1), scale = draw.leaf({16});
  const auto stacked = at::cat({other.detach(), other.detach(), value.detach()}, 0);
  const auto tables = ops::rope_tables(9, 8, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const ops::AttentionHalf weights{mix, other, other, value, stacked, gain, other, other.detach(), scale, 2, true};
  compare([&] { return half(x, x, weights, cos, sin, 0); },
          [&] { return ops::attention_half(x, x, weights, cos, sin, 0); }, {x, mix, scale, value}, 2e-5);
}

TEST_CASE("the head by kernels: nats of rows, their mean, and the loss without a norm") {
  if (skip()) return;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t rows, width, vocabulary; double cap; };
  const auto size = GENERATE(Size{3, 8, 5, 30}, Size{19, 33, 61, 2}, Size{19, 33, 61, 500}, Size{7, 48, 2304, 30},
                             Size{2, 16, 17408, 30});
  const double cap = size.cap;
  Draw draw(3);
  const auto x = draw.leaf({size.rows, size.width}), embedding = draw.leaf({size.vocabulary, size.width});
  const auto targets = draw.below(size.rows, size.vocabulary);
  const auto copy = embedding.detach().to(type);
  const std::vector<at::Tensor> leaves = {x, embedding};
  compare([&] { return subject::head_loss(x.to(type), embedding, copy, targets, cap); },
          [&] { return ops::head_loss(x.to(type), embedding, copy, targets, cap); }, leaves, tolerance_of(type));
#ifdef CADDIE_TEST_EMULATED
  const auto nats = [&](bool normed) {
    return [&, normed] { return subject::head_nats(x.to(type), embedding, copy, targets, cap, normed); };
  };
  compare(nats(true), [&] { return ops::head_nats(x.to(type), embedding, copy, targets, cap); }, leaves, tolerance_of(type));
  compare(nats(false), [&] { return ops::softcap_cross_entropy(x.to(type), embedding, copy, targets, cap); }, leaves,
          tolerance_of(type));
#else
  compare([&] { return ops::head_nats(x.to(type), embedding, copy, targets, cap); },
          [&] { return ops::head_nats(x.to(type), embedding, copy, targets, cap); }, leaves, tolerance_of(type));
#endif
}

TEST_CASE("the normed embedding and the scaled sum by kernels") {
  if (skip()) return;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const std::int64_t width = GENERATE(8, 33, 48, 520);
  Draw draw(4);
  const auto embedding = draw.leaf({11, width}), x = draw.leaf({29, width}), y = draw.leaf({29, width}), scale = draw.leaf({width});
  const auto tokens = draw.below(29, 11).view({1, 29});
  compare([&] { return subject::embed_norm(tokens, embedding, type); }, [&] { return ops::embed_norm(tokens, embedding, type); },
          {embedding}, tolerance_of(type));
  compare([&] { return subject::scaled_add(x.to(type), y.to(type), scale); },
          [&] { return ops::scaled_add(x.to(type), y.to(type), scale); }, {x, y, scale}, tolerance_of(type));
}

TEST_CASE("ops of scoring and generation by kernels") {
  if (skip()) return;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t heads, kv_heads, head; };
  const auto size = GENERATE(Size{4, 2, 16}, Size{3, 1, 10}, Size{2, 2, 64});
  Draw draw(6);
  const auto width = size.heads * size.head;
  const auto x = draw.normal({2, 7, width}).to(type), y = draw.normal({2, 7, width}).to(type), mix = draw.normal({2, width});
  const auto qkv = draw.normal({2, 7, (size.heads + 2 * size.kv_heads) * size.head}).to(type), gain = draw.normal({size.heads});
  const auto tables = ops::rope_tables(7, size.head, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  const auto q = qkv.narrow(-1, 0, width).view({2, 7, size.heads, size.head});
  const auto v = qkv.narrow(-1, width, size.kv_heads * size.head).view({2, 7, size.kv_heads, size.head});
  const double tolerance = tolerance_of(type);
  compare([&] { return subject::rms_norm(x); }, [&] { return ops::rms_norm(x); }, {}, tolerance);
  compare([&] { return subject::residual_mix(x, y, mix); }, [&] { return ops::residual_mix(x, y, mix); }, {}, tolerance);
  compare([&] { return subject::squared_leaky_relu(x, 0.5); }, [&] { return ops::squared_leaky_relu(x, 0.5); }, {}, tolerance);
  compare([&] { return subject::norm_rope_gain(q, cos, sin, gain); }, [&] { return ops::norm_rope_gain(q, cos, sin, gain); }, {},
          tolerance);
  compare([&] { return subject::norm_rope_gain(v, cos, sin, {}); }, [&] { return ops::norm_rope_gain(v, cos, sin, {}); }, {},
          tolerance);
  compare([&] { return subject::exclude_self(q, v); }, [&] { return ops::exclude_self(q, v); }, {}, tolerance);
  for (const std::int64_t queries : {std::int64_t{1}, std::int64_t{4}, std::int64_t{7}}) {
    const auto last = q.narrow(1, 7 - queries, queries);
    compare([&] { return subject::attention(last, v, v); }, [&] { return ops::attention(last, v, v); }, {}, tolerance);
  }
  for (const bool exclude : {false, true})
    compare([&] { return subject::self_attention(qkv, cos, sin, gain, size.kv_heads, exclude); },
            [&] { return ops::self_attention(qkv, cos, sin, gain, size.kv_heads, exclude); }, {}, tolerance);
}

TEST_CASE("one position more, with a cache") {
  if (skip()) return;
  const at::NoGradGuard guard;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t heads, kv_heads, head; };
  const auto size = GENERATE(Size{4, 2, 16}, Size{3, 1, 10}, Size{2, 2, 64}, Size{4, 2, 32}, Size{3, 3, 136});
  const bool exclude = GENERATE(false, true);
  Draw draw(10);
  const auto gain = draw.normal({size.heads});
  const auto tables = ops::rope_tables(12, size.head, 10000);
  const auto cos = tables.first.to(device()), sin = tables.second.to(device());
  auto keys = draw.normal({2, 12, size.kv_heads, size.head}).to(type), values = draw.normal({2, 12, size.kv_heads, size.head}).to(type);
  for (const std::int64_t position : {0, 1, 10}) {
    const auto qkv = draw.normal({2, 1, (size.heads + 2 * size.kv_heads) * size.head}).to(type);
    const auto other_keys = keys.clone(), other_values = values.clone();
    const auto at_position = [&](const at::Tensor& table) { return table.narrow(0, position, 1); };
    const auto fast = subject::cached_attention(qkv, at_position(cos), at_position(sin), gain, keys, values, position, exclude);
    const Oracle on;
    const auto expected = ops::cached_attention(qkv, at_position(cos), at_position(sin), gain, other_keys, other_values, position, exclude);
    // Of a first position exclusion leaves nothing but rounding: values are of order 1, and so is the tolerance.
    CHECK(fast.sub(expected).abs().max().item<double>() < tolerance_of(type));
    CHECK(relative(keys, other_keys) < tolerance_of(type));
    CHECK(values.equal(other_values));
    // The position on the device, and tables of all positions.
    const auto place = at::full({1}, position, at::kLong).to(device());
    const auto again = subject::cached_attention(qkv, cos, sin, gain, keys, values, place, exclude);
    CHECK(again.sub(expected).abs().max().item<double>() < tolerance_of(type));
  }
}

TEST_CASE("fake quantization by kernels is exact") {
  if (skip()) return;
  Draw draw(8);
  const int bits = GENERATE(2, 5, 8);
  auto weight = draw.normal({7, 301});
  weight.select(0, 2).zero_();
  const auto fast = subject::fake_quantize_rows(weight, bits);
  const Oracle on;
  CHECK(fast.equal(ops::fake_quantize_rows(weight, bits)));
}

TEST_CASE("a NaN stays visible through the CUDA kernels") {
  if (skip()) return;
  Draw draw(7);
  auto x = draw.normal({40, 16});
  x.select(0, 20).fill_(std::numeric_limits<float>::quiet_NaN());
  const auto up = draw.normal({24, 16}), down = draw.normal({16, 24}), scale = draw.normal({16});
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const at::NoGradGuard guard;
  const auto out = subject::mlp_half(x.to(type), {up, up, down, down, scale, 0.5});
  CHECK(out.select(0, 20).isnan().all().item<bool>());
  CHECK_FALSE(out.narrow(0, 0, 20).isnan().any().item<bool>());
  const auto loss = subject::head_loss(x.to(type), up, up, draw.below(40, 24), 30);
  CHECK(std::isnan(loss.item<double>()));
  const auto outside = draw.below(40, 24).fill_(24);
  CHECK(std::isnan(subject::head_loss(draw.normal({40, 16}), up, up, outside, 30).item<double>()));
}
