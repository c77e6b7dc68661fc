// Operations one by one: forward and backward of the kernel that the device has, against the plain ATen oracle.
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>

#include <functional>
#include <tuple>
#include <vector>

#include "caddie/ops.h"
#include "core/base/clock.h"
#include "core/bench/bench.h"
#include "core/bench/measure.h"

namespace caddie::bench {
namespace {

struct Sizes {
  std::int64_t rows, sequence, width, heads, kv_heads, hidden, vocabulary;  // rows: sequences of a micro batch
  std::int64_t head() const { return width / heads; }
};

Sizes sizes_of(const Bench& bench) {
  const Json& model = bench.session().section("model");
  const Json& train = bench.session().section("train");
  Sizes s{};
  s.sequence = train.at("sequence");
  s.rows = train.at("tokens_per_step").get<std::int64_t>() / train.at("micro_batches").get<std::int64_t>() / s.sequence;
  s.width = model.at("width");
  s.heads = model.at("heads");
  s.kv_heads = model.at("kv_heads");
  s.hidden = static_cast<std::int64_t>(model.at("mlp_ratio").get<double>() * static_cast<double>(s.width));
  s.vocabulary = bench.vocabulary();
  return s;
}

// Inputs are leaves; gradients are made for all of them.
class Inputs {
 public:
  Inputs(const Bench& bench, const Sizes& sizes) : s(sizes), device_(bench.session().device()) {
    type_ = bench.session().precision() == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
    std::tie(cos, sin) = ops::rope_tables(s.sequence, s.head(), 10000);
    cos = cos.to(device_);
    sin = sin.to(device_);
  }
  at::Tensor activation(at::IntArrayRef shape) const { return made(shape, type_, 1.0); }
  at::Tensor weight(at::IntArrayRef shape) const { return made(shape, at::kFloat, shape.size() == 2 ? 0.02 : 1.0); }
  at::Tensor compute(const at::Tensor& weight) const { return weight.detach().to(type_); }

  Sizes s;
  at::Tensor cos, sin;

 private:
  at::Tensor made(at::IntArrayRef shape, at::ScalarType type, double deviation) const {
    return at::randn(shape, at::TensorOptions(device_)).mul_(deviation).to(type).set_requires_grad(true);
  }
  at::Device device_;
  at::ScalarType type_;
};

struct Operation {
  const char* name;
  std::function<at::Tensor()> call;
};

std::vector<Operation> operations(const Inputs& in, const at::Tensor& targets) {
  const Sizes& s = in.s;
  const auto x = in.activation({s.rows, s.sequence, s.width}), x0 = in.activation({s.rows, s.sequence, s.width});
  const auto mix = in.weight({2, s.width}), scale = in.weight({s.width}), gain = in.weight({s.heads});
  const auto q = in.weight({s.width, s.width}), k = in.weight({s.kv_heads * s.head(), s.width});
  const auto v = in.weight({s.kv_heads * s.head(), s.width}), o = in.weight({s.width, s.width});
  const auto up = in.weight({s.hidden, s.width}), down = in.weight({s.width, s.hidden});
  const auto embedding = in.weight({s.vocabulary, s.width});
  const auto hidden = in.activation({s.rows, s.sequence, s.hidden});
  const auto queries = in.activation({s.rows, s.sequence, s.heads, s.head()});
  const auto keys = in.activation({s.rows, s.sequence, s.kv_heads, s.head()});
  const auto qkv = in.compute(at::cat({q.detach(), k.detach(), v.detach()}));
  const ops::AttentionHalf attention{mix, q, k, v, qkv, gain, o, in.compute(o), scale, s.kv_heads, true};
  const ops::MlpHalf mlp{up, in.compute(up), down, in.compute(down), scale, 0.5};
  const auto copy = in.compute(embedding);
  const auto flat = [=] { return x.reshape({-1, s.width}); };
  return {
      {"rms_norm", [=] { return ops::rms_norm(x); }},
      {"residual_mix", [=] { return ops::residual_mix(x, x0, mix); }},
      {"scaled_add", [=] { return ops::scaled_add(x, x0, scale); }},
      {"linear", [=, c = in.compute(up)] { return ops::linear(x, up, c); }},
      {"squared_leaky_relu", [=] { return ops::squared_leaky_relu(hidden, 0.5); }},
      {"norm_rope_gain", [=, c = in.cos, n = in.sin] { return ops::norm_rope_gain(queries, c, n, gain); }},
      {"attention", [=] { return ops::attention(queries, keys, keys); }},
      {"exclude_self", [=] { return ops::exclude_self(queries, keys); }},
      {"attention_half", [=, c = in.cos, n = in.sin] { return ops::attention_half(x, x0, attention, c, n); }},
      {"mlp_half", [=] { return ops::mlp_half(x, mlp); }},
      {"head_loss", [=] { return ops::head_loss(flat(), embedding, copy, targets, 30); }},
  };
}

class Oracles {
 public:
  explicit Oracles(bool on) : before_(ops::using_oracles()) { ops::use_oracles(on); }
  ~Oracles() { ops::use_oracles(before_); }

 private:
  bool before_;
};

}  // namespace

Json ops(Bench& bench) {
  const at::Device device = bench.session().device();
  const Inputs inputs(bench, sizes_of(bench));
  const Sizes& s = inputs.s;
  const at::Tensor targets = bench.tokens(s.rows * s.sequence, "targets").to(device);
  Json table = Json::array();
  for (const Operation& operation : operations(inputs, targets)) {
    const auto both = [&] { operation.call().sum().backward(); };
    std::vector<double> fast, oracle;
    for (int i = 0; i <= bench.repeats(5); ++i) {  // in alternation; the first pair is not counted
      for (const bool plain : {false, true}) {
        const Oracles choice(plain);
        synchronize(device);
        const Stopwatch watch;
        both();
        synchronize(device);
        if (i > 0) (plain ? oracle : fast).push_back(watch.seconds());
      }
    }
    Json row = {{"op", operation.name}};
    add_spread(row, "oracle_ms", oracle, 1000);
    add_spread(row, "ms", fast, 1000);
    row["against_oracle"] = spread(oracle).median / spread(fast).median;
    table.push_back(row);
  }
  Json result = bench.head("ops");
  result["kernels"] = ops::kernels(device, bench.session().precision() == Precision::bfloat16 ? at::kBFloat16 : at::kFloat);
  result["tokens"] = s.rows * s.sequence;
  result["ops"] = table;
  return result;
}

}  // namespace caddie::bench
