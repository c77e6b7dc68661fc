// The model by its promises: names and sizes, skips of odd depths, cached generation, scored tails, observation, fake
// quantization, and errors of its options. Formulas are tested with the ops and by the golden checks; what is no part of the
// reference has its own test, options_test.cpp.
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "core/artifact/calibration.h"
#include "tests/support/small_unet_gpt.h"

using namespace unet_gpt_test;

TEST_CASE("the reference has 28,334,672 parameters, known without any data") {
  const auto made = make(Json::object(), caddie::Precision::float32, at::kMeta, 4096);
  std::int64_t count = 0;
  for (const auto& parameter : made.parameters()) {
    count += parameter.tensor.numel();
    CHECK(parameter.tensor.requires_grad());
  }
  CHECK(count == 28'334'672);
  CHECK(made.parameter("blocks.9.mlp.up.weight").sizes() == at::IntArrayRef({1792, 512}));
  made.model->prepare(true);  // harmless while planning
  CHECK(made.model->training_flops_per_token() > 6.0 * 28e6);
}

TEST_CASE("names, roles and groups decide optimizers and quantizers") {
  const auto made = make(kSmall);
  std::map<std::string, const caddie::Parameter*> by_name;
  for (const auto& parameter : made.parameters()) by_name[parameter.name] = &parameter;
  CHECK(by_name.size() == made.parameters().size());
  CHECK(by_name.at("embedding.weight")->role == caddie::Role::embedding);
  CHECK(by_name.at("skip.weight")->role == caddie::Role::vector);
  CHECK(by_name.at("blocks.1.residual_mix")->role == caddie::Role::vector);
  CHECK(by_name.at("blocks.1.residual_mix")->group == "control");
  CHECK(by_name.at("blocks.3.attention.key.weight")->role == caddie::Role::matrix);
  CHECK(by_name.at("blocks.3.attention.key.weight")->group == "attention");
  CHECK(by_name.at("blocks.3.mlp.down.weight")->group == "mlp");
  CHECK(by_name.at("blocks.3.mlp.down.weight")->layer == 3);
}

TEST_CASE("the initial model knows nothing: its loss is the logarithm of the vocabulary") {
  const auto made = make(kSmall);
  caddie::Random random(3, "init");
  made.model->initialize(random);
  made.model->prepare(true);
  const auto tokens = tokens_of(2, 24), targets = tokens_of(2, 24, 8);
  CHECK(made.model->loss(tokens, targets).item<double>() == Approx(std::log(61.0)).margin(0.01));
  CHECK(made.parameter("blocks.0.attention.output.weight").abs().max().item<double>() == 0);
  CHECK(made.parameter("blocks.0.attention.query_gain").min().item<double>() == 1.5);
  caddie::Random again(3, "init");
  const auto other = make(kSmall);
  other.model->initialize(again);
  for (std::size_t i = 0; i < made.parameters().size(); ++i) {
    CHECK(made.parameters()[i].tensor.equal(other.parameters()[i].tensor));
  }
}

TEST_CASE("with five blocks there is one skip, and row 0 is never used") {
  auto options = kSmall;
  options["layers"] = 5;
  const auto made = make(options);
  randomize(made);
  made.model->prepare(false);
  const auto skip = made.parameter("skip.weight");
  REQUIRE(skip.size(0) == 2);
  const auto loss = made.model->loss(tokens_of(2, 9), tokens_of(2, 9, 8));
  const auto gradient = torch::autograd::grad({loss}, {skip}).at(0);
  CHECK(gradient.select(0, 0).abs().max().item<double>() == 0);
  CHECK(gradient.select(0, 1).abs().max().item<double>() > 0);
}

TEST_CASE("the gradient is the slope of the loss") {
  const auto made = make(kSmall);
  randomize(made);
  made.model->prepare(false);
  const auto tokens = tokens_of(3, 24), targets = tokens_of(3, 24, 8);
  std::vector<at::Tensor> leaves;
  for (const auto& parameter : made.parameters()) leaves.push_back(parameter.tensor);
  const auto gradients = torch::autograd::grad({made.model->loss(tokens, targets)}, leaves);
  // Along the gradient itself, parameter by parameter: f(p + s g) - f(p - s g) = 2 s |g|^2.
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const at::NoGradGuard no_grad;
    const auto square = gradients[i].to(at::kDouble).square().sum().item<double>();
    if (square == 0) continue;
    const double step = 2e-3 / std::sqrt(square);
    const auto loss_at = [&](double factor) {
      leaves[i].add_(gradients[i], factor);
      made.model->prepare(false);
      return made.model->nats(tokens, targets, 0).to(at::kDouble).mean().item<double>();
    };
    const double up = loss_at(step), down = loss_at(-2 * step);
    loss_at(step);
    INFO(made.parameters()[i].name);
    CHECK((up - down) / (2 * step * square) == Approx(1).epsilon(0.03));
  }
}

TEST_CASE("scores: a tail, the mean, logits and the trace agree") {
  const auto made = make(kSmall);
  randomize(made);
  made.model->prepare(false);
  const auto tokens = tokens_of(3, 17), targets = tokens_of(3, 17, 8);
  const auto all = made.model->nats(tokens, targets, 0);
  CHECK(all.sizes() == at::IntArrayRef({3, 17}));
  CHECK_FALSE(all.requires_grad());
  CHECK(largest_difference(made.model->nats(tokens, targets, 12), all.narrow(1, 12, 5)) < 1e-5);
  CHECK(made.model->loss(tokens, targets).item<double>() == Approx(all.mean().item<double>()).epsilon(1e-6));
  const auto logits = made.model->logits(tokens);
  const auto expected = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1).neg();
  CHECK(largest_difference(all, expected) < 1e-5);
  const auto trace = made.model->trace(tokens);
  REQUIRE(trace.size() == 5);
  CHECK(trace[0].sizes() == at::IntArrayRef({3, 17, 48}));
  CHECK(largest_difference(trace.back(), logits) < 1e-6);
  CHECK_THROWS_AS(made.model->nats(tokens, targets, 17), caddie::Error);
}

TEST_CASE("generation with the cache equals full recomputation, token by token") {
  const auto precision = GENERATE(caddie::Precision::float32, caddie::Precision::bfloat16);
  const auto made = make(kSmall, precision);
  randomize(made);
  made.model->prepare(false);
  const double tolerance = precision == caddie::Precision::float32 ? 2e-5 : 0.3;
  auto sequence = tokens_of(4, 5);
  const auto generator = made.model->generator(4, 20);
  auto logits = generator->feed(sequence);
  for (int step = 0; step < 15; ++step) {
    const auto full = made.model->logits(sequence).select(1, sequence.size(1) - 1);
    REQUIRE(largest_difference(logits, full) < tolerance);
    const auto next = logits.argmax(-1, true);
    if (precision == caddie::Precision::float32) REQUIRE(next.equal(full.argmax(-1, true)));
    sequence = at::cat({sequence, next}, 1);
    logits = generator->feed(next);
  }
  CHECK_THROWS_AS(generator->feed(sequence.narrow(1, 0, 1)), caddie::Error);  // the cache is full

  const auto pieces = made.model->generator(4, 20);
  pieces->feed(sequence.narrow(1, 0, 7));
  pieces->feed(sequence.narrow(1, 7, 1));
  CHECK(largest_difference(pieces->feed(sequence.narrow(1, 8, 12)), logits) < tolerance);
}

TEST_CASE("a generator that reads its position from the device gives what the other one gives") {
  const auto precision = GENERATE(caddie::Precision::float32, caddie::Precision::bfloat16);
  const auto made = make(kSmall, precision);
  randomize(made);
  made.model->prepare(false);
  const auto plain = made.model->generator(4, 12), other = made.model->generator(4, 12);
  REQUIRE(other->feeds_at());
  const auto sequence = tokens_of(4, 12);
  auto position = at::zeros({1}, at::kLong);
  const double tolerance = precision == caddie::Precision::float32 ? 2e-5 : 0.3;
  for (std::int64_t step = 0; step < 12; ++step) {
    const auto token = sequence.narrow(1, step, 1);
    CHECK(largest_difference(other->feed_at(token, position), plain->feed(token)) < tolerance);
    position.add_(1);
  }
  CHECK_THROWS_AS(other->feed_at(sequence.narrow(1, 0, 1), position), caddie::Error);  // the cache is full
  CHECK_THROWS_AS(plain->feed_at(sequence, position), caddie::Error);                  // one token a sequence
}

TEST_CASE("text generated by the step that a device repeats is that of the plain loop, with the cache or without") {
  const auto made = make(kSmall);
  randomize(made);
  const auto text = [&](double temperature, bool cached, bool recorded) {
    return caddie::artifact::self_generated_tokens(*made.model, 61, 5, 24, temperature, caddie::Random(4, "text"), at::kCPU, cached,
                                                   recorded);
  };
  for (const double temperature : {1.0, 0.0}) {
    const auto plain = text(temperature, true, false);
    CHECK(text(temperature, true, true).equal(plain));
    CHECK(text(temperature, false, false).equal(plain));
  }
}

TEST_CASE("every matrix and the tied head are observed once, queries, keys and values together") {
  const auto made = make(kSmall);
  randomize(made);
  made.model->prepare(false);
  Recorder recorder;
  made.model->observe(tokens_of(2, 10), recorder);
  REQUIRE(recorder.calls.size() == 4 * 4 + 1);
  std::map<std::string, int> seen;
  for (std::size_t i = 0; i < recorder.calls.size(); ++i) {
    for (const auto& name : recorder.calls[i]) {
      ++seen[name];
      CHECK(recorder.inputs[i].size(0) == 20);
      CHECK(recorder.inputs[i].size(1) == made.parameter(name).size(1));
      CHECK_FALSE(recorder.inputs[i].requires_grad());
    }
  }
  for (const auto& parameter : made.parameters()) {
    CHECK(seen[parameter.name] == (parameter.role == caddie::Role::vector ? 0 : 1));  // the tied output map too
  }
  CHECK(recorder.calls[0] == std::vector<std::string>{"blocks.0.attention.query.weight", "blocks.0.attention.key.weight",
                                                      "blocks.0.attention.value.weight"});
  // The head's inputs: times the embedding, capped, they are the logits.
  const auto logits = recorder.inputs.back().matmul(made.parameter("embedding.weight").detach().t());
  const double cap = 30;
  CHECK(largest_difference(logits.div(cap).tanh().mul(cap), made.model->logits(tokens_of(2, 10)).reshape({20, -1})) < 1e-4);
}

TEST_CASE("fake quantization computes with rounded weights and passes gradients straight through") {
  const auto made = make(kSmall), rounded = make(kSmall);
  randomize(made);
  std::vector<caddie::FakeQuantRule> rules;
  for (std::size_t i = 0; i < made.parameters().size(); ++i) {
    const at::NoGradGuard no_grad;
    const auto& parameter = made.parameters()[i];
    const int bits = parameter.group == "attention" ? 6 : 5;
    auto value = parameter.tensor.detach();
    if (parameter.role == caddie::Role::matrix) {
      rules.push_back({parameter.name, bits});
      value = caddie::ops::fake_quantize_rows(value, bits);
    }
    rounded.parameters()[i].tensor.detach().copy_(value);
  }
  made.model->set_fake_quant(rules);
  const auto tokens = tokens_of(2, 12), targets = tokens_of(2, 12, 8);
  const auto gradients = [&](const Made& which, bool training) {
    which.model->prepare(training);
    std::vector<at::Tensor> leaves;
    for (const auto& parameter : which.parameters()) leaves.push_back(parameter.tensor);
    const auto loss = which.model->loss(tokens, targets);
    auto result = torch::autograd::grad({loss}, leaves);
    result.push_back(loss);
    return result;
  };
  const auto quantized = gradients(made, true), expected = gradients(rounded, false), plain = gradients(made, false);
  for (std::size_t i = 0; i < quantized.size(); ++i) CHECK(largest_difference(quantized[i], expected[i]) < 1e-6);
  CHECK(largest_difference(quantized.back(), plain.back()) > 1e-5);

  const std::vector<caddie::FakeQuantRule> wrong = {{"embedding.weight", 8}};
  CHECK_THROWS_AS(made.model->set_fake_quant(wrong), caddie::Error);
}

TEST_CASE("bfloat16 stays close to float32") {
  const auto exact = make(kSmall), half = make(kSmall, caddie::Precision::bfloat16);
  randomize(exact);
  randomize(half);
  exact.model->prepare(false);
  half.model->prepare(false);
  const auto tokens = tokens_of(2, 24), targets = tokens_of(2, 24, 8);
  const auto loss = half.model->loss(tokens, targets);
  CHECK(loss.scalar_type() == at::kFloat);
  CHECK(loss.item<double>() == Approx(exact.model->loss(tokens, targets).item<double>()).epsilon(0.03));
  const auto gradient = torch::autograd::grad({loss}, {half.parameter("blocks.0.mlp.up.weight")}).at(0);
  CHECK(gradient.scalar_type() == at::kFloat);
  CHECK(half.model->path().find("bfloat16") != std::string::npos);
}

TEST_CASE("options that fit no model are refused with their values") {
  const auto refuses = [](Json change, const std::string& word) {
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
  refuses({{"heads", 7}}, "48");
  refuses({{"kv_heads", 4}}, "kv_heads");
  refuses({{"xsa_last", 9}}, "xsa_last");
  refuses({{"vocabulary", 60}}, "61");
}
