// The small ops' kernels, which run without gradients, against the oracles; and the two that have gradients.
#include "tests/support/catch.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "tests/unit/ops/compare.h"

using namespace caddie::ops_test;

namespace {

void compare_values(const std::function<at::Tensor()>& op, double tolerance) {
  const at::NoGradGuard no_grad;
  const auto fast = op();
  const Oracle oracle;
  CHECK(relative(fast, op()) < tolerance);
}

}  // namespace

TEST_CASE("rows: norm, mix, scaled addition, activation") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const auto width = GENERATE(1, 7, 16, 33, 192);
  Draw draw(1);
  const auto x = draw.normal({3, 29, width}).to(type), y = draw.normal({3, 29, width}).to(type);
  const auto mix = draw.normal({2, width}), scale = draw.normal({width});
  with_every_kernel([&] {
    compare_values([&] { return ops::rms_norm(x); }, tolerance_of(type));
    compare_values([&] { return ops::residual_mix(x, y, mix); }, tolerance_of(type));
    compare_values([&] { return ops::scaled_add(x, y, scale); }, tolerance_of(type));
    compare_values([&] { return ops::squared_leaky_relu(x, 0.5); }, tolerance_of(type));
    compare_values([&] { return ops::rms_norm(x.transpose(0, 1)); }, tolerance_of(type));
  });
}

TEST_CASE("heads: norm, rotation, gain, exclusion, also inside longer rows") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const auto head = GENERATE(2, 10, 32);
  Draw draw(2);
  const auto [cos, sin] = ops::rope_tables(9, head, 10000);
  const auto wide = draw.normal({2, 9, 8 * head}).to(type);
  const auto q = wide.narrow(2, 0, 4 * head).view({2, 9, 4, head}), v = wide.narrow(2, 6 * head, 2 * head).view({2, 9, 2, head});
  const auto gain = draw.normal({4});
  with_every_kernel([&, cosines = cos, sines = sin] {
    compare_values([&] { return ops::norm_rope_gain(q, cosines, sines, gain); }, tolerance_of(type));
    compare_values([&] { return ops::norm_rope_gain(q, cosines, sines, {}); }, tolerance_of(type));
    compare_values([&] { return ops::exclude_self(q, v); }, tolerance_of(type));
    compare_values([&] { return ops::self_attention(wide, cosines, sines, gain, 2, true); }, tolerance_of(type));
    compare_values([&] { return ops::self_attention(wide, cosines, sines, gain, 2, false); }, tolerance_of(type));
  });
}

TEST_CASE("attention over a cache") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const auto queries = GENERATE(1, 5, 20);
  Draw draw(3);
  const auto q = draw.normal({2, queries, 6, 10}).to(type);
  const auto keys = draw.normal({2, 40, 3, 10}).to(type), values = draw.normal({2, 40, 3, 10}).to(type);
  with_every_kernel([&] {
    compare_values([&] { return ops::attention(q, keys.narrow(1, 0, 20), values.narrow(1, 0, 20)); }, tolerance_of(type));
    compare_values([&] { return ops::attention(q, keys.transpose(2, 3).contiguous().transpose(2, 3), values); }, tolerance_of(type));
  });
}

TEST_CASE("only the last positions of the attention half") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  Draw draw(4);
  const auto x = draw.normal({3, 70, 24}).to(type), x0 = draw.normal({3, 70, 24}).to(type);
  const auto qkv = draw.normal({48, 24}, 0.2), output = draw.normal({24, 24});
  const ops::AttentionHalf weights{draw.normal({2, 24}), qkv.narrow(0, 0, 24), qkv.narrow(0, 24, 12), qkv.narrow(0, 36, 12), qkv.to(type),
                                   draw.normal({2}), output, output.to(type), draw.normal({24}), 1, true};
  const auto [cos, sin] = ops::rope_tables(70, 12, 10000);
  const auto from = GENERATE(1, 48, 69);
  with_every_kernel([&, cosines = cos, sines = sin] {
    const at::NoGradGuard no_grad;
    const auto all = ops::attention_half(x, x0, weights, cosines, sines), tail = ops::attention_half(x, x0, weights, cosines, sines, from);
    CHECK(relative(tail, all.narrow(1, from, 70 - from)) < (type == at::kFloat ? 1e-6 : 0.01));
    compare_values([&] { return ops::attention_half(x, x0, weights, cosines, sines, from); }, tolerance_of(type));
  });
  CHECK_THROWS_AS(ops::attention_half(x, x0, weights, cos, sin, 70), caddie::Error);
}

TEST_CASE("scaled addition and the normed embedding have gradients") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const auto width = GENERATE(5, 33, 64);
  Draw draw(5);
  const auto x = draw.leaf({2, 51, width}), y = draw.leaf({2, 51, width}), scale = draw.leaf({width}), embedding = draw.leaf({13, width}, 0.01);
  const auto tokens = draw.below(102, 12).view({2, 51});  // piece 12 never occurs: its gradient is zero
  with_every_kernel([&] {
    compare([&] { return ops::scaled_add(x.to(type), y.to(type), scale); }, {x, y, scale}, tolerance_of(type));
    compare([&] { return ops::embed_norm(tokens, embedding, type); }, {embedding}, tolerance_of(type));
  });
  CHECK_THROWS_AS(ops::embed_norm(tokens.add(2), embedding, type), caddie::Error);
}
