// What only a GPU does in another way than the CPU: recorded steps, generation from them, GPTQ of many matrices at once. Each
// against the CPU's way, or against its own plain one.
#include <ATen/Context.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <chrono>

#include "caddie/quantizer.h"
#include "core/artifact/calibration.h"
#include "core/ops/pick_next.h"
#include "core/ops/kernel_record.h"
#include "core/ops/recorded.h"
#include "tests/support/catch.h"
#include "tests/support/small_unet_gpt.h"

using namespace caddie;
using namespace unet_gpt_test;

namespace {

bool no_gpu() { return !at::hasCUDA() || at::detail::getCUDAHooks().deviceCount() == 0; }
at::Device gpu() { return at::Device(at::kCUDA, 0); }

struct Given final : Calibration {
  explicit Given(at::Tensor hessian) : value(std::move(hessian)) {}
  at::Tensor hessian() const override { return value; }
  at::Tensor value;
};

}  // namespace

TEST_CASE("a recorded step is repeated, on a GPU as a graph") {
  if (no_gpu()) SKIP_TEST("no GPU is visible, or this build of LibTorch has no CUDA");
  ops::Recorded step(gpu());
  auto sum = at::zeros({3}, at::TensorOptions().device(gpu())), added = sum.clone();
  for (int i = 1; i <= 6; ++i) {
    added.fill_(i);
    step.run([&] { sum.add_(added.mul(2)); });
  }
  CHECK(step.repeats());
  CHECK(sum.cpu()[0].item<float>() == 42);
  step.reset();
  CHECK_FALSE(step.repeats());
  step.run([&] { sum.zero_(); });
  CHECK(sum.cpu()[0].item<float>() == 0);
}

TEST_CASE("a GPU's kernels are recorded with their names and times, one record at a time") {
  if (no_gpu()) SKIP_TEST("no GPU is visible, or this build of LibTorch has no CUDA");
  const auto x = at::rand({512, 512}, at::TensorOptions().device(gpu()));
  for (int round = 0; round < 2; ++round) {
    const auto before = std::chrono::steady_clock::now().time_since_epoch();
    ops::KernelRecord record(gpu()), second(gpu());
    for (int i = 0; i < 3; ++i) x.matmul(x).add(1);
    const auto runs = record.finish();
    CHECK(second.finish().empty());
    CHECK(record.finish().empty());
    CHECK(runs.size() >= 6);
    for (const auto& run : runs) {
      CHECK(run.duration_ns > 0);
      CHECK_FALSE(run.name.empty());
      // The clocks differ by microseconds at most.
      CHECK(run.start_ns > std::chrono::nanoseconds(before).count() - 1000000);
    }
    const auto sums = ops::sum_kernels(runs);
    CHECK(sums.kernels.front().calls >= 3);
    CHECK(sums.busy_milliseconds > 0);
  }
}

TEST_CASE("text that a GPU generates from a recorded step is that of the plain ways") {
  if (no_gpu()) SKIP_TEST("no GPU is visible, or this build of LibTorch has no CUDA");
  for (const Json& more : {Json::object(), Json{{"smear", "gate"}, {"bigram_buckets", 64}}, Json{{"attention_gate", "out"}}}) {
    Json options = {{"layers", 4}, {"width", 64}, {"heads", 4}, {"kv_heads", 2}, {"mlp_ratio", 3}, {"xsa_last", 2}};
    options.update(more);
    const auto here = make(options), there = make(options, Precision::float32, gpu());
    randomize(here);
    randomize(there);
    const auto text = [](const Made& made, double temperature, bool cached) {
      const auto device = made.parameters()[0].tensor.device();
      return artifact::self_generated_tokens(*made.model, 61, 5, 24, temperature, Random(4, "text"), device, cached).cpu();
    };
    for (const double temperature : {1.0, 0.0}) {
      INFO(more.dump() << ", temperature " << temperature);
      const auto tokens = text(there, temperature, true);
      CHECK(tokens.equal(text(there, temperature, true)));
      CHECK(tokens.equal(text(here, temperature, true)));
      // A draw that lies between two tokens may fall to the other after rounding, and its sequence goes on from there.
      const auto whole = text(there, temperature, false);
      INFO("with cache\n" << tokens << "\nwithout\n" << whole);
      CHECK(tokens.eq(whole).to(at::kDouble).mean().item<double>() > 0.9);

      there.model->prepare(false);
      const auto all = there.model->logits(tokens.to(gpu())), of_cpu = here.model->logits(tokens);
      CHECK(all.cpu().sub(of_cpu).abs().max().item<double>() < 1e-3);
      const auto plain = there.model->generator(5, 24), recorded = there.model->generator(5, 24);
      auto position = at::zeros({1}, at::TensorOptions().dtype(at::kLong).device(gpu()));
      for (std::int64_t t = 0; t < 24; ++t, position.add_(1)) {
        const auto token = tokens.narrow(1, t, 1).to(gpu()), expected = all.select(1, t);
        INFO("position " << t);
        CHECK(plain->feed(token).sub(expected).abs().max().item<double>() < 1e-3);
        CHECK(recorded->feed_at(token, position).sub(expected).abs().max().item<double>() < 1e-3);
      }
    }
  }
}

// Kernels of a recorded step begin before those ahead of them have ended. One that reads or writes too early gives another text
// now and then: many steps, of widths at which the kernels take different forms, in both types, again and again.
TEST_CASE("text from kernels that begin early is that of the same kernels one after the other, bit for bit") {
  if (no_gpu()) SKIP_TEST("no GPU is visible, or this build of LibTorch has no CUDA");
  struct Size { std::int64_t width, heads, kv_heads; double mlp_ratio; std::int64_t rows; };
  for (const auto& size : {Size{512, 8, 4, 3.5, 16}, Size{64, 4, 2, 3, 5}, Size{640, 5, 5, 4, 33}}) {
    for (const auto precision : {Precision::bfloat16, Precision::float32}) {
      const std::int64_t vocabulary = 4093, length = 200;
      const auto made = make({{"layers", 6}, {"width", size.width}, {"heads", size.heads}, {"kv_heads", size.kv_heads},
                              {"mlp_ratio", size.mlp_ratio}, {"xsa_last", 3}}, precision, gpu(), vocabulary);
      randomize(made);
      INFO("width " << size.width << (precision == Precision::bfloat16 ? ", bfloat16" : ", float32"));
      const auto options = at::TensorOptions().dtype(at::kLong).device(gpu());
      const auto levels = at::rand({length, size.rows}, at::TensorOptions().dtype(at::kDouble).device(gpu()));
      const auto text = [&](bool early_launches, bool recorded) {
        made.model->prepare(false);
        const at::NoGradGuard no_gradients;
        const auto generator = made.model->generator(size.rows, length);
        auto tokens = at::zeros({size.rows, length}, options), next = at::zeros({size.rows, 1}, options);
        auto position = at::zeros({1}, options);
        ops::Recorded step(gpu());
        const ops::EarlyLaunches early(early_launches);
        const auto body = [&] { ops::pick_next(generator->feed_at(next, position), levels, position, 0.8, next, tokens); };
        for (std::int64_t i = 0; i + 1 < length; ++i) recorded ? step.run(body) : body();
        CHECK(step.repeats() == recorded);
        CHECK(position.item<std::int64_t>() == length - 1);
        return tokens.cpu();
      };
      const auto expected = text(false, false);
      CHECK(text(true, false).equal(expected));
      for (int round = 0; round < 4; ++round) CHECK(text(true, true).equal(expected));
      CHECK(text(false, true).equal(expected));
    }
  }
}

TEST_CASE("a GPU's Hessians and GPTQ codes are the CPU's") {
  if (no_gpu()) SKIP_TEST("no GPU is visible, or this build of LibTorch has no CUDA");
  const auto here = make(kSmall), there = make(kSmall, Precision::float32, gpu());
  randomize(here);
  randomize(there);
  const auto tokens = tokens_of(12, 20);
  artifact::HessianCollector on_cpu, on_gpu;
  artifact::collect_hessians(*here.model, artifact::split_batches(tokens, 2), on_cpu);
  artifact::collect_hessians(*there.model, artifact::split_batches(tokens.to(gpu()), 2), on_gpu);
  REQUIRE(on_cpu.groups() == on_gpu.groups());
  for (const auto& group : on_cpu.groups()) {
    const auto expected = on_cpu.hessian(group[0]), got = on_gpu.hessian(group[0]).cpu();
    CHECK(got.sub(expected).abs().max().item<double>() < 1e-4 * expected.abs().max().item<double>());
  }

  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  const auto quantizer = catalogue.create_quantizer({{"use", "gptq"}}, QuantizerContext{nullptr});
  at::manual_seed(3);
  std::vector<Given> given, given_there;
  std::vector<std::vector<Weight>> weights, weights_there;
  for (const std::int64_t columns : {96, 200, 96, 513}) {
    const auto x = at::randn({3 * columns, columns}).mul(at::randn({columns}).exp());
    given.emplace_back(x.t().mm(x));
    given_there.emplace_back(given.back().value.to(gpu()));
    weights.push_back({{"a", at::randn({40, columns})}, {"b", at::randn({70, columns})}});
    weights_there.push_back({{"a", weights.back()[0].value.to(gpu())}, {"b", weights.back()[1].value.to(gpu())}});
  }
  std::vector<WeightGroup> groups;
  for (std::size_t i = 0; i < given.size(); ++i) groups.push_back({weights_there[i], &given_there[i]});
  const auto together = quantizer->quantize_groups(groups);
  REQUIRE(together.size() == given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto alone = quantizer->quantize(weights[i], &given[i]);
    for (std::size_t k = 0; k < alone.size(); ++k) {
      INFO("group " << i << ", weight " << k);
      const auto codes = together[i][k].codes.cpu();
      CHECK(together[i][k].note == alone[k].note);
      CHECK(together[i][k].steps.cpu().sub(alone[k].steps).abs().max().item<double>() == 0);
      CHECK(codes.eq(alone[k].codes).to(at::kDouble).mean().item<double>() > 0.98);
      const auto objective = [&](const at::Tensor& c) {
        const auto error = c.to(at::kDouble).mul(alone[k].steps.unsqueeze(1)).sub(weights[i][k].value.to(at::kDouble));
        return error.mm(given[i].value.to(at::kDouble)).mul(error).sum().item<double>();
      };
      CHECK(objective(codes) == Approx(objective(alone[k].codes)).epsilon(0.01));
    }
  }
}
