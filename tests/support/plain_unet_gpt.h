// The model unet_gpt with all of its options, written out plainly in float64: one sequence, one head at a time, no op
// of the program. What it is tested against.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>
#include <map>

#include "tests/support/small_unet_gpt.h"

namespace unet_gpt_test {

inline constexpr double kEpsilon = 1.1920928955078125e-07;
inline constexpr std::int64_t kDocument = 1;  // the token that begins one

inline at::Tensor norm(const at::Tensor& x) { return x.div(x.square().mean(-1, true).add(kEpsilon).sqrt()); }
inline at::Tensor map(const at::Tensor& x, const at::Tensor& w) { return x.matmul(w.t()); }

// One sequence, one head at a time, everything in float64.
struct Plain {
  Json options;
  std::map<std::string, at::Tensor> p;
  std::vector<int> order;  // of the blocks; the first half is pushed, the second half pops

  Plain(const Json& given, const Made& made, std::vector<int> blocks) : options(kSmall), order(std::move(blocks)) {
    options.update(given);
    for (const auto& parameter : made.parameters()) p[parameter.name] = parameter.tensor.detach().to(at::kDouble);
  }
  template <class T>
  T option(const char* key, T fallback) const {
    return options.value(key, fallback);
  }
  const at::Tensor& in_block(int block, const std::string& name) const {
    return p.at("blocks." + std::to_string(block) + "." + name);
  }

  at::Tensor input(const at::Tensor& tokens) const {  // [T, D]
    std::vector<at::Tensor> rows;
    const auto buckets = option<std::int64_t>("bigram_buckets", 0);
    for (std::int64_t t = 0; t < tokens.size(0); ++t) {
      const auto token = tokens[t].item<std::int64_t>();
      auto e = p.at("embedding.weight")[token];
      if (p.count("embedding.expand.weight")) e = p.at("embedding.expand.weight").matmul(e);
      if (buckets > 0) {
        std::int64_t row = buckets - 1;
        if (t > 0) row = ((36313 * token) ^ (27191 * tokens[t - 1].item<std::int64_t>())) % (buckets - 1);
        e = e.add(p.at("bigram.projection.weight").matmul(p.at("bigram.table")[row]).mul(p.at("bigram.scale")));
      }
      rows.push_back(norm(e));
    }
    const std::string smear = option<std::string>("smear", "none");
    std::vector<at::Tensor> mixed;
    for (std::size_t t = 0; t < rows.size(); ++t) {
      const bool alone = t == 0 || tokens[static_cast<std::int64_t>(t)].item<std::int64_t>() ==
                                       option<std::int64_t>("smear_boundary", kDocument);
      const at::Tensor before = alone ? at::zeros_like(rows[t]) : rows[t - 1];
      if (smear == "gate") {
        const auto g = p.at("smear.gate").sigmoid();
        mixed.push_back(rows[t].mul(g).add(before.mul(g.mul(-1).add(1))));
      } else if (smear == "window") {
        const auto n = option<std::int64_t>("smear_window", 12);
        const auto g = rows[t].narrow(0, 0, n).mul(p.at("smear.gate")).sum().sigmoid();
        mixed.push_back(rows[t].add(before.mul(g).mul(p.at("smear.strength"))));
      } else {
        mixed.push_back(rows[t]);
      }
    }
    return at::stack(mixed);
  }

  at::Tensor rotated(const at::Tensor& x) const {  // [T, h], one head
    const auto head = x.size(1), dims = option<std::int64_t>("rope_dims", head);
    auto y = x.clone();
    for (std::int64_t i = 0; i < dims / 2; ++i) {
      const auto angle = at::arange(x.size(0), at::kDouble)
                             .mul(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(dims)));
      const auto a = x.select(1, i), b = x.select(1, i + head / 2);
      y.select(1, i).copy_(a.mul(angle.cos()).add(b.mul(angle.sin())));
      y.select(1, i + head / 2).copy_(b.mul(angle.cos()).sub(a.mul(angle.sin())));
    }
    return y;
  }

  at::Tensor attention(int block, const at::Tensor& n) const {  // [T, H h]
    const std::int64_t heads = options.at("heads"), groups = heads / options.at("kv_heads").get<std::int64_t>();
    const std::int64_t head = options.at("width").get<std::int64_t>() / heads, length = n.size(0);
    const auto q = map(n, in_block(block, "attention.query.weight")),
               k = map(n, in_block(block, "attention.key.weight")),
               v = map(n, in_block(block, "attention.value.weight"));
    std::vector<at::Tensor> outputs;
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto queries = rotated(norm(q.narrow(1, h * head, head))).mul(in_block(block, "attention.query_gain")[h]);
      const auto keys = rotated(norm(k.narrow(1, h / groups * head, head))),
                 values = v.narrow(1, h / groups * head, head);
      const auto future = at::ones({length, length}, at::kBool).triu(1);
      const auto scores = queries.matmul(keys.t()).div(std::sqrt(static_cast<double>(head)));
      auto y = scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1).matmul(values);
      if (block >= options.at("layers").get<int>() - options.at("xsa_last").get<int>()) {
        const auto unit = values.div(values.square().sum(1, true).sqrt());
        y = y.sub(unit.mul(y.mul(unit).sum(1, true)));
      }
      const std::string gate = option<std::string>("attention_gate", "none");
      if (gate != "none") {
        const auto w = in_block(block, "attention.gate")[h];
        auto z = n.narrow(1, 0, w.size(0)).matmul(w);
        if (gate == "sparse") z = z.mul(option("attention_gate_scale", 1.0));
        y = y.mul((gate == "out" ? z.sigmoid().mul(2) : z.sigmoid()).unsqueeze(1));
      }
      outputs.push_back(y);
    }
    return at::cat(outputs, 1);
  }

  at::Tensor mlp(int block, const at::Tensor& n) const {
    const double slope = option("slope", 0.5);
    const auto hidden = map(n, in_block(block, "mlp.up.weight"));
    return map(hidden.clamp_min(0).add(hidden.clamp_max(0).mul(slope)).square(), in_block(block, "mlp.down.weight"));
  }

  at::Tensor run(int block, at::Tensor x, const at::Tensor& x0) const {
    x = x.mul(in_block(block, "residual_mix")[0]).add(x0.mul(in_block(block, "residual_mix")[1]));
    const double scale = option("layer_scaled_norms", false) ? 1 / std::sqrt(block + 1.0) : 1;
    const auto n = norm(x).mul(scale);
    const auto a =
        map(attention(block, n), in_block(block, "attention.output.weight")).mul(in_block(block, "attention_scale"));
    const bool parallel = options.contains("parallel_from") && block >= options["parallel_from"].get<int>();
    const auto after = x.add(a);
    return after.add(mlp(block, parallel ? n : norm(after).mul(scale)).mul(in_block(block, "mlp_scale")));
  }

  at::Tensor logits(const at::Tensor& tokens) const {  // [T] -> [T, V]
    const auto x0 = input(tokens);
    auto x = x0;
    std::vector<at::Tensor> kept;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto half = order.size() / 2;
      if (i >= half && !kept.empty()) {
        const auto row = static_cast<std::int64_t>(i - half);
        const auto skip = kept.back().mul(p.at("skip.weight")[row]);
        kept.pop_back();
        x = p.count("skip.gate") ? skip.add(x.sub(skip).mul(p.at("skip.gate")[row].sigmoid())) : x.add(skip);
      }
      x = run(order[i], x, x0);
      if (i < half) kept.push_back(x);
    }
    x = norm(x);
    if (p.count("head.reduce.weight")) x = map(x, p.at("head.reduce.weight"));
    const auto z = map(x, p.at(p.count("head.weight") ? "head.weight" : "embedding.weight"));
    const double cap = option("logit_cap", 30.0);
    return cap == 0 ? z : z.div(cap).tanh().mul(cap);
  }
};

}  // namespace unet_gpt_test
