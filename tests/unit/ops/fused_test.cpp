// The fused kernels against the oracles: values and all gradients, every instruction set that this processor runs, sizes that
// fill no tile and no vector.
#include "tests/support/catch.h"

#include <cmath>
#include <limits>

#include "caddie/error.h"
#include "tests/unit/ops/compare.h"

using namespace caddie::ops_test;

TEST_CASE("the tables that the tests of this folder run") {
  for (const char* name : kTables) {
    if (!ops::cpu::choose_kernels(name)) WARN("skipped: this processor or system does not run the kernels for " << name);
  }
  CHECK(ops::cpu::choose_kernels("generic"));
  CHECK_FALSE(ops::cpu::choose_kernels("another"));
  CHECK(ops::cpu::choose_kernels(nullptr));
}

TEST_CASE("mlp_half") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t rows, width, hidden; };
  const auto size = GENERATE(Size{1, 8, 4}, Size{97, 33, 77}, Size{200, 48, 130}, Size{5, 64, 224}, Size{15, 17, 31},
                             Size{33, 32, 33}, Size{545, 40, 96});
  Draw draw(1);
  const auto x = draw.leaf({size.rows, size.width}), up = draw.leaf({size.hidden, size.width}, 0.3);
  const auto down = draw.leaf({size.width, size.hidden}, 0.3), scale = draw.leaf({size.width}, 0.5, 1);
  with_every_kernel([&] {
    compare([&] { return ops::mlp_half(x.to(type), {up, up.detach().to(type), down, down.detach().to(type), scale, 0.5}); },
            {x, up, down, scale}, tolerance_of(type));
  });
}

TEST_CASE("attention_half") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const bool exclude = GENERATE(false, true);
  struct Size { std::int64_t batch, length, heads, kv_heads, head; };
  const auto size = GENERATE(Size{2, 17, 6, 3, 8}, Size{1, 97, 4, 1, 16}, Size{3, 5, 2, 2, 10}, Size{2, 131, 3, 3, 32},
                             Size{5, 2, 2, 1, 16}, Size{1, 70, 2, 1, 64}, Size{2, 33, 4, 2, 32}, Size{2, 161, 4, 2, 26});
  Draw draw(2);
  const auto width = size.heads * size.head, kv_width = size.kv_heads * size.head;
  const double spread = 1 / std::sqrt(static_cast<double>(width));
  const auto x = draw.leaf({size.batch, size.length, width}), x0 = draw.leaf({size.batch, size.length, width});
  const auto mix = draw.leaf({2, width}, 0.3, 0.7), gain = draw.leaf({size.heads}, 0.3, 1.5), scale = draw.leaf({width}, 0.3, 1);
  const auto query = draw.leaf({width, width}, spread), key = draw.leaf({kv_width, width}, spread);
  const auto value = draw.leaf({kv_width, width}, spread), output = draw.leaf({width, width}, spread);
  const auto [cos, sin] = ops::rope_tables(size.length, size.head, 10000);
  const auto stacked = at::empty({width + 2 * kv_width, width}, at::kFloat);
  stacked.narrow(0, 0, width).copy_(query.detach());
  stacked.narrow(0, width, kv_width).copy_(key.detach());
  stacked.narrow(0, width + kv_width, kv_width).copy_(value.detach());
  // The gain's gradient of an oracle in bfloat16 may be off by the tolerance itself.
  const auto half = [&, cosines = cos, sines = sin](at::ScalarType computed) {
    const auto rounded = [&](const at::Tensor& t) { return t.to(type).to(computed); };
    const ops::AttentionHalf weights{mix, query, key, value, rounded(stacked), gain, output, rounded(output.detach()), scale,
                                     size.kv_heads, exclude};
    return ops::attention_half(rounded(x), rounded(x0), weights, cosines, sines);
  };
  with_every_kernel([&] {
    compare([&] { return half(type); }, {x, x0, mix, query, key, value, gain, output, scale}, tolerance_of(type),
            [&] { return half(at::kFloat); });
  });
}

TEST_CASE("attention with gains that make one weight the largest by far") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const double size = GENERATE(6.0, 40.0);  // times 8: the largest score
  Draw draw(8);
  const auto x = draw.normal({1, 70, 128}), weight = draw.normal({256, 128}, 0.1), output = draw.normal({128, 128}, 0.1);
  const auto mix = draw.normal({2, 128}, 0.3, 0.7), gain = draw.normal({2}, 0.1, size), scale = draw.normal({128}, 0.3, 1);
  const auto [cos, sin] = ops::rope_tables(70, 64, 10000);
  // Queries that are keys: every position's own key has the largest score, whatever is rounded.
  const auto stacked = weight.clone();
  stacked.narrow(0, 0, 64).copy_(stacked.narrow(0, 128, 64));
  stacked.narrow(0, 64, 64).copy_(stacked.narrow(0, 128, 64));
  const auto part = [&](std::int64_t first, std::int64_t count) { return stacked.narrow(0, first, count).contiguous(); };
  const ops::AttentionHalf weights{mix, part(0, 128), part(128, 64), part(192, 64), stacked.to(type), gain, output, output.to(type),
                                   scale, 1, false};
  const at::NoGradGuard no_grad;
  at::Tensor expected;
  {
    const Oracle oracle;
    expected = ops::attention_half(x.to(type), x.to(type), weights, cos, sin);
  }
  with_every_kernel([&, cosines = cos, sines = sin] {
    CHECK(relative(ops::attention_half(x.to(type), x.to(type), weights, cosines, sines), expected) < tolerance_of(type));
  });
}

TEST_CASE("exclusion of values that are zero") {
  Draw draw(5);
  const auto x = draw.leaf({1, 9, 16}), value = draw.normal({16, 16}).zero_().set_requires_grad(true);
  const auto other = draw.leaf({16, 16}, 0.3), mix = draw.leaf({2, 16}, 0.3, 1), gain = draw.leaf({2}, 0.1, 1), scale = draw.leaf({16});
  auto stacked = at::empty({48, 16}, at::kFloat).zero_();
  stacked.narrow(0, 0, 16).copy_(other.detach());
  stacked.narrow(0, 16, 16).copy_(other.detach());
  const auto [cos, sin] = ops::rope_tables(9, 8, 10000);
  const ops::AttentionHalf weights{mix, other, other, value, stacked, gain, other, other.detach(), scale, 2, true};
  with_every_kernel([&, cosines = cos, sines = sin] {
    compare([&] { return ops::attention_half(x, x, weights, cosines, sines); }, {x, mix, scale, value}, 1e-5);
  });
}

TEST_CASE("the head: nats of rows, their mean, and the loss without a norm") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  struct Size { std::int64_t rows, width, vocabulary; };
  const auto size = GENERATE(Size{3, 8, 5}, Size{53, 33, 61}, Size{100, 48, 300}, Size{17, 15, 33}, Size{290, 64, 96});
  const double cap = GENERATE(2.0, 30.0, 500.0);
  Draw draw(3);
  const auto x = draw.leaf({size.rows, size.width}), embedding = draw.leaf({size.vocabulary, size.width});
  const auto targets = draw.below(size.rows, size.vocabulary);
  with_every_kernel([&] {
    const auto copy = embedding.detach().to(type);
    compare([&] { return ops::head_nats(x.to(type), embedding, copy, targets, cap); }, {x, embedding}, tolerance_of(type));
    compare([&] { return ops::head_loss(x.to(type), embedding, copy, targets, cap); }, {x, embedding}, tolerance_of(type));
    compare([&] { return ops::softcap_cross_entropy(x.to(type), embedding, copy, targets, cap); }, {x, embedding},
            tolerance_of(type));
  });
}

TEST_CASE("a target outside the vocabulary is an error, not a crash") {
  Draw draw(4);
  const auto x = draw.normal({3, 8}), embedding = draw.normal({5, 8});
  const auto targets = draw.below(3, 5).fill_(5);
  CHECK_THROWS_AS(ops::head_nats(x, embedding, embedding, targets, 30), caddie::Error);
}

TEST_CASE("a NaN stays visible through the kernels") {
  Draw draw(6);
  auto x = draw.normal({70, 16});
  x.select(0, 40).fill_(std::numeric_limits<float>::quiet_NaN());
  const auto up = draw.normal({24, 16}), down = draw.normal({16, 24}), scale = draw.normal({16});
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  with_every_kernel([&] {
    const auto out = ops::mlp_half(x.to(type), {up, up, down, down, scale, 0.5});
    CHECK(out.select(0, 40).isnan().all().item<bool>());
    CHECK_FALSE(out.narrow(0, 0, 40).isnan().any().item<bool>());
    const auto nats = ops::head_nats(x.to(type), down.t().contiguous(), down.t().contiguous(), draw.below(70, 24), 30);
    CHECK(std::isnan(nats.select(0, 40).item<double>()));
    CHECK_FALSE(nats.narrow(0, 0, 40).isnan().any().item<bool>());
  });
}

TEST_CASE("the same input gives the same bits, whatever ran before") {
  Draw draw(7);
  const auto x = draw.leaf({300, 32}), up = draw.leaf({80, 32}), down = draw.leaf({32, 80}), scale = draw.leaf({32});
  const auto gradients = [&] {
    const auto out = ops::mlp_half(x, {up, up.detach(), down, down.detach(), scale, 0.5});
    return torch::autograd::grad({out.sum()}, {x, up, down, scale});
  };
  const auto first = gradients();
  ops::mlp_half(draw.leaf({700, 32}), {up, up.detach(), down, down.detach(), scale, 0.5});
  const auto second = gradients();
  for (std::size_t i = 0; i < first.size(); ++i) CHECK(first[i].equal(second[i]));
}
