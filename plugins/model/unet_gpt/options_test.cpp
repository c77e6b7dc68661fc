// What later systems added, option by option, against a model written out plainly in float64: logits, and then, within
// the model, gradients, tails, the generator and the observer.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "test_model.h"

using namespace unet_gpt_test;

namespace {

constexpr double kEpsilon = 1.1920928955078125e-07;
constexpr std::int64_t kDocument = 1;  // the token that begins one

at::Tensor norm(const at::Tensor& x) { return x.div(x.square().mean(-1, true).add(kEpsilon).sqrt()); }
at::Tensor map(const at::Tensor& x, const at::Tensor& w) { return x.matmul(w.t()); }

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

struct Variant {
  const char* name;
  Json options;
  std::vector<int> order = {0, 1, 2, 3};
  const char* path = "";  // what path() says beyond the kernels
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"xsa nowhere", {{"xsa_last", 0}}},
      {"xsa everywhere", {{"xsa_last", 4}}},
      {"partial rotation", {{"rope_dims", 4}}},
      {"layer-scaled norms", {{"layer_scaled_norms", true}}, {0, 1, 2, 3}, "layer_scaled_norms"},
      {"squared ReLU", {{"slope", 0.0}}},
      {"gated skips", {{"gated_skips", true}}},
      {"bigram embedding", {{"bigram_buckets", 17}, {"bigram_dim", 6}}},
      {"smear gate", {{"smear", "gate"}}},
      {"smear window", {{"smear", "window"}, {"smear_window", 5}}},
      {"smear over documents", {{"smear", "gate"}, {"smear_boundary", -1}}},
      {"out gate", {{"attention_gate", "out"}}, {0, 1, 2, 3}, "attention_gate"},
      {"full gate", {{"attention_gate", "full"}}, {0, 1, 2, 3}, "attention_gate"},
      {"sparse gate",
       {{"attention_gate", "sparse"}, {"attention_gate_window", 5}, {"attention_gate_scale", 0.5}},
       {0, 1, 2, 3},
       "attention_gate"},
      {"parallel halves", {{"parallel_from", 2}}, {0, 1, 2, 3}, "parallel_from"},
      {"recurrence", {{"loop_first", 1}, {"loop_last", 2}, {"loop_passes", 3}}, {0, 1, 2, 1, 2, 1, 2, 3}},
      {"odd recurrence", {{"loop_first", 3}, {"loop_last", 3}, {"loop_passes", 2}}, {0, 1, 2, 3, 3}},
      {"factored embedding", {{"embedding_rank", 10}}},
      {"untied head", {{"tied", false}}},
      {"no cap", {{"logit_cap", 0.0}}},
      {"much at once",
       {{"embedding_rank", 10},
        {"tied", false},
        {"logit_cap", 0.0},
        {"parallel_from", 3},
        {"smear", "window"},
        {"bigram_buckets", 9},
        {"loop_first", 2},
        {"loop_last", 2},
        {"loop_passes", 3},
        {"layer_scaled_norms", true},
        {"gated_skips", true}},
       {0, 1, 2, 2, 2, 3},
       "layer_scaled_norms, parallel_from"},
  };
  return all;
}

Made made_for(const Variant& variant) {
  auto options = kSmall;
  options.update(variant.options);
  const auto made = make(options);
  randomize(made);
  made.model->prepare(false);
  return made;
}

at::Tensor text() {
  auto tokens = tokens_of(2, 14);
  tokens[0][6] = kDocument;
  tokens[1][0] = kDocument;
  return tokens;
}

}  // namespace

TEST_CASE("every option computes its formula") {
  for (const auto& variant : variants()) {
    INFO(variant.name);
    const auto made = made_for(variant);
    const Plain plain(variant.options, made, variant.order);
    const auto tokens = text();
    const auto logits = made.model->logits(tokens);
    for (std::int64_t row = 0; row < 2; ++row)
      CHECK(largest_difference(logits[row], plain.logits(tokens[row])) <
            1e-4 * std::max(1.0, logits.abs().max().item<double>()));
    const std::string path = made.model->path();
    CHECK((path.find("small ops: " + std::string(variant.path)) != std::string::npos) == (*variant.path != 0));
  }
}

TEST_CASE("with every option losses, tails, the generator and the observer tell one story") {
  for (const auto& variant : variants()) {
    INFO(variant.name);
    const auto made = made_for(variant);
    const auto tokens = text(), targets = tokens_of(2, 14, 8);
    const auto nats = made.model->nats(tokens, targets, 0);
    CHECK(made.model->loss(tokens, targets).item<double>() == Approx(nats.mean().item<double>()).epsilon(1e-5));
    CHECK(largest_difference(made.model->nats(tokens, targets, 9), nats.narrow(1, 9, 5)) < 1e-4);

    const auto logits = made.model->logits(tokens);
    const auto generator = made.model->generator(2, 14);
    CHECK(largest_difference(generator->feed(tokens.narrow(1, 0, 5)), logits.select(1, 4)) < 1e-3);
    for (std::int64_t t = 5; t < 14; ++t)
      CHECK(largest_difference(generator->feed(tokens.narrow(1, t, 1)), logits.select(1, t)) < 1e-3);

    Recorder recorder;
    made.model->observe(tokens, recorder);
    std::map<std::string, std::int64_t> seen;
    for (std::size_t i = 0; i < recorder.calls.size(); ++i)
      for (const auto& name : recorder.calls[i]) {
        ++seen[name];
        CHECK(recorder.inputs[i].size(1) == made.parameter(name).size(1));
      }
    for (const auto& parameter : made.parameters())
      if (parameter.role == caddie::Role::matrix)
        CHECK(seen[parameter.name] ==
              (parameter.layer < 0 ? 1 : std::count(variant.order.begin(), variant.order.end(), parameter.layer)));
  }
}

TEST_CASE("with every option the gradient is the slope of the loss") {
  std::set<std::string> usual;
  const auto plain = make(kSmall);
  for (const auto& parameter : plain.parameters()) usual.insert(parameter.name);
  for (const auto& variant : variants()) {
    const auto made = made_for(variant);
    const auto tokens = text(), targets = tokens_of(2, 14, 8);
    std::vector<at::Tensor> leaves;
    for (const auto& parameter : made.parameters()) leaves.push_back(parameter.tensor);
    const auto gradients =
        torch::autograd::grad({made.model->loss(tokens, targets)}, leaves, {}, std::nullopt, false, true);
    const at::NoGradGuard no_grad;
    const auto check = [&](const std::string& what, const std::vector<std::size_t>& which) {
      double square = 0;
      for (const auto i : which)
        if (gradients[i].defined()) square += gradients[i].to(at::kDouble).square().sum().item<double>();
      INFO(variant.name << ": " << what);
      REQUIRE(square > 0);
      const double step = 2e-3 / std::sqrt(square);
      const auto loss_at = [&](double factor) {
        for (const auto i : which)
          if (gradients[i].defined()) leaves[i].add_(gradients[i], factor);
        made.model->prepare(false);
        return made.model->nats(tokens, targets, 0).to(at::kDouble).mean().item<double>();
      };
      const double up = loss_at(step), down = loss_at(-2 * step);
      loss_at(step);
      CHECK((up - down) / (2 * step * square) == Approx(1).epsilon(0.03));
    };
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      all.push_back(i);
      if (!usual.count(made.parameters()[i].name)) check(made.parameters()[i].name, {i});
    }
    check("all parameters", all);
  }
}

TEST_CASE("recurrence begins at its share of the budget, and scores have it") {
  const Variant variant{"", {{"loop_first", 1}, {"loop_last", 2}, {"loop_passes", 2}, {"loop_from", 0.5}}};
  const auto made = made_for(variant);
  const auto tokens = text();
  const auto trained = made.model->logits(tokens);
  made.model->set_progress(0.49);
  CHECK(largest_difference(made.model->logits(tokens)[0],
                           Plain(variant.options, made, {0, 1, 2, 3}).logits(tokens[0])) < 1e-4);
  CHECK(made.model->trace(tokens).size() == 4 + 1);
  made.model->set_progress(0.5);
  CHECK(largest_difference(made.model->logits(tokens)[0],
                           Plain(variant.options, made, {0, 1, 2, 1, 2, 3}).logits(tokens[0])) < 1e-4);
  CHECK(made.model->logits(tokens).equal(trained));
  CHECK(made.parameter("skip.weight").size(0) == 3);
}

TEST_CASE("tables and rounding of scores may differ from those of training, to measure what that costs") {
  const auto tokens = text(), targets = tokens_of(2, 14, 8);
  const auto loss = [&](Json change, bool training) {
    const auto made = made_for({"", std::move(change)});
    made.model->prepare(!training);
    made.model->prepare(training);
    return made.model->loss(tokens, targets).item<double>();
  };
  const Json mixed = {{"rope_tables", "bf16_eager"}, {"training_rope_tables", "bf16_compiled"}};
  CHECK(loss(mixed, true) == loss({{"rope_tables", "bf16_compiled"}}, true));
  CHECK(loss(mixed, false) == loss({{"rope_tables", "bf16_eager"}}, false));
  CHECK(loss(mixed, true) != loss(mixed, false));

  const Json rounded = {{"round_scored_weights", true}};
  CHECK(loss(rounded, true) == loss(Json::object(), false));
  const auto made = made_for({"", Json::object()});
  {
    const at::NoGradGuard no_grad;
    for (const auto& parameter : made.parameters())
      if (parameter.role != caddie::Role::vector) parameter.tensor.copy_(parameter.tensor.to(at::kBFloat16));
  }
  made.model->prepare(false);
  // The embedding that is looked up stays as it is, the one that scores is rounded.
  CHECK(loss(rounded, false) == Approx(made.model->loss(tokens, targets).item<double>()).epsilon(1e-3));
  CHECK(loss(rounded, false) != loss(rounded, true));
}

TEST_CASE("published orders of blocks come out") {
  const auto blocks = [](Json loop) {
    loop.update({{"layers", 11}, {"xsa_last", 0}});
    auto options = kSmall;
    options.update(loop);
    return make(options).parameter("skip.weight").size(0);
  };
  CHECK(blocks({{"loop_first", 4}, {"loop_last", 5}, {"loop_passes", 3}}) ==
        7);  // [0 1 2 3 4 5 4] [5 4 5 6 .. 10], #1394
  CHECK(blocks({{"loop_first", 3}, {"loop_last", 5}, {"loop_passes", 3}}) ==
        8);  // [0 1 2 3 4 5 3 4] [5 3 4 5 6 .. 10], #1493
}

TEST_CASE("what is added begins as if it were not there") {
  const auto tokens = text(), targets = tokens_of(2, 14, 8);
  const auto loss = [&](const Json& more) {
    auto options = kSmall;
    options.update(more);
    const auto made = make(options);
    caddie::Random random(3, "init");
    made.model->initialize(random);
    made.model->prepare(false);
    return made.model->loss(tokens, targets).item<double>();
  };
  const double plain = loss(Json::object());
  for (const Json& same : {Json{{"bigram_buckets", 32}}, Json{{"smear", "window"}}, Json{{"attention_gate", "out"}},
                           Json{{"parallel_from", 1}}})
    CHECK(loss(same) == Approx(plain).epsilon(1e-6));
  CHECK(loss({{"tied", false}}) == Approx(std::log(61.0)).epsilon(1e-6));
}

TEST_CASE("options that do not fit together are refused with their values") {
  const auto refuses = [](const Json& change, const std::string& word) {
    auto options = kSmall;
    options.update(change);
    try {
      make(options);
      FAIL("accepted " << change.dump());
    } catch (const caddie::Error& error) {
      CHECK(error.kind() == caddie::ErrorKind::usage);
      CHECK(error.message().find(word) != std::string::npos);
    }
  };
  refuses({{"rope_dims", 10}}, "8");
  refuses({{"rope_dims", 3}}, "3");
  refuses({{"loop_passes", 2}, {"loop_first", 2}, {"loop_last", 1}}, "loop_first 2");
  refuses({{"loop_passes", 2}, {"loop_first", 2}, {"loop_last", 4}}, "loop_last 4");
  refuses({{"smear", "window"}, {"smear_window", 49}}, "49");
  refuses({{"attention_gate", "sparse"}, {"attention_gate_window", 60}}, "60");
  refuses({{"bigram_buckets", 1}}, "bigram_buckets");
}
