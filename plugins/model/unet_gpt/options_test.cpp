// What later systems added, option by option, against a model written out plainly in float64: logits, and then, within
// the model, gradients, tails, the generator and the observer.
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "tests/support/plain_unet_gpt.h"

using namespace unet_gpt_test;

namespace {

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
    const auto other = made.model->generator(2, 14);
    auto position = at::zeros({1}, at::kLong);
    for (std::int64_t t = 0; t < 14; ++t, position.add_(1))
      CHECK(largest_difference(other->feed_at(tokens.narrow(1, t, 1), position), logits.select(1, t)) < 1e-3);

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
