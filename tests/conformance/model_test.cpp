// Models: parameters, losses, scores, logits, generator, observer and fake quantization tell one story.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>
#include <regex>
#include <set>

#include "caddie/ops.h"
#include "tests/conformance/model_fixture.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

class Seen final : public LinearObserver {
 public:
  void input(std::span<const std::string> weights, const at::Tensor& input) override {
    REQUIRE(input.dim() == 2);
    CHECK_FALSE(input.requires_grad());
    CHECK(input.isfinite().all().item<bool>());
    for (const std::string& weight : weights) inputs.emplace(weight, input.clone());
  }
  std::multimap<std::string, at::Tensor> inputs;
};

const Parameter& parameter_named(Model& model, const std::string& name) {
  for (const Parameter& parameter : model.parameters())
    if (parameter.name == name) return parameter;
  FAIL("no parameter " << name);
  return model.parameters().front();
}

std::vector<std::string> matrices(Model& model) {
  std::vector<std::string> names;
  for (const Parameter& parameter : model.parameters())
    if (parameter.role == Role::matrix) names.push_back(parameter.name);
  return names;
}

}  // namespace

TEST_CASE("model: parameters are named float32 leaves, the same ones each time") {
  static const std::regex group_form("[a-z][a-z0-9_]*");
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel small(name);
    const auto& parameters = small.model->parameters();
    REQUIRE_FALSE(parameters.empty());
    std::set<std::string> names;
    for (const Parameter& parameter : parameters) {
      INFO(parameter.name);
      CHECK(names.insert(parameter.name).second);
      CHECK(parameter.tensor.scalar_type() == at::kFloat);
      CHECK(parameter.tensor.is_leaf());
      CHECK(parameter.tensor.requires_grad());
      CHECK(std::regex_match(parameter.group, group_form));
      CHECK(parameter.layer >= -1);
      if (parameter.role != Role::vector) CHECK(parameter.tensor.dim() == 2);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i)
      CHECK(small.model->parameters()[i].tensor.is_same(parameters[i].tensor));
  }
}

TEST_CASE("model: it can be planned on the meta device") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel real(name), planned(name, Precision::float32, at::kMeta);
    const auto &here = real.model->parameters(), &there = planned.model->parameters();
    REQUIRE(here.size() == there.size());
    for (std::size_t i = 0; i < here.size(); ++i) {
      CHECK(there[i].name == here[i].name);
      CHECK(there[i].tensor.sizes() == here[i].tensor.sizes());
      CHECK(there[i].tensor.is_meta());
    }
    CHECK(planned.model->activation_bytes(100) > 0);
    CHECK(planned.model->activation_bytes(200) > planned.model->activation_bytes(100));
    CHECK(planned.model->training_flops_per_token() > 0);
    CHECK_FALSE(planned.model->path().empty());
  }
}

TEST_CASE("model: initial values depend on the seed alone, and the first loss is a guess among all tokens") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel one(name), two(name), other(name);
    Random random(99, "model");
    other.model->initialize(random);
    other.model->prepare(false);
    bool differs = false;
    for (std::size_t i = 0; i < one.model->parameters().size(); ++i) {
      const at::Tensor value = one.model->parameters()[i].tensor;
      CHECK(same_bits(value, two.model->parameters()[i].tensor));
      CHECK(value.isfinite().all().item<bool>());
      differs = differs || !same_bits(value, other.model->parameters()[i].tensor);
    }
    CHECK(differs);
    CHECK(one.loss() == Approx(std::log(static_cast<double>(kVocabulary))).epsilon(0.5));
    CHECK(one.loss() == two.loss());
  }
}

TEST_CASE("model: loss, nats, logits and trace agree") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel small(name);
    small.stir();
    Model& model = *small.model;
    const at::Tensor nats = model.nats(small.inputs, small.targets, 0);
    REQUIRE(nats.sizes() == at::IntArrayRef({2, kSequence}));
    CHECK(nats.scalar_type() == at::kFloat);
    CHECK_FALSE(nats.requires_grad());
    CHECK(small.loss() == Approx(nats.to(at::kDouble).mean().item<double>()).epsilon(1e-5));
    for (const std::int64_t from : {5, static_cast<int>(kSequence) - 1})
      CHECK(largest_difference(model.nats(small.inputs, small.targets, from), nats.narrow(1, from, kSequence - from)) < 1e-5);
    const at::Tensor logits = model.logits(small.inputs);
    REQUIRE(logits.sizes() == at::IntArrayRef({2, kSequence, kVocabulary}));
    CHECK(logits.scalar_type() == at::kFloat);
    CHECK_FALSE(logits.requires_grad());
    const at::Tensor from_logits = at::log_softmax(logits, -1).gather(2, small.targets.unsqueeze(-1)).squeeze(-1).neg();
    CHECK(largest_difference(from_logits, nats) < 1e-4);
    const auto trace = model.trace(small.inputs);
    REQUIRE(trace.size() >= 2);
    CHECK(largest_difference(trace.back(), logits) < 1e-5);
    for (std::size_t i = 0; i + 1 < trace.size(); ++i) CHECK(trace[i].sizes().slice(0, 2) == at::IntArrayRef({2, kSequence}));
  }
}

TEST_CASE("model: no position sees a later token, no sequence sees another") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel small(name);
    small.stir();
    const at::Tensor before = small.model->logits(small.inputs);
    at::Tensor changed = small.inputs.clone();
    changed[0][7] = (changed[0][7].item<std::int64_t>() + 1) % kVocabulary;
    const at::Tensor after = small.model->logits(changed);
    CHECK(largest_difference(before[0].narrow(0, 0, 7), after[0].narrow(0, 0, 7)) < 1e-5);
    CHECK(largest_difference(before[1], after[1]) < 1e-5);
    CHECK(largest_difference(before[0][7], after[0][7]) > 1e-4);  // the change itself is seen
  }
}

TEST_CASE("model: the generator's logits equal full recomputation, token by token") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel small(name);
    small.stir();
    const auto generator = small.model->generator(2, kSequence);
    for (std::int64_t at = 0; at < kSequence;) {
      const std::int64_t count = at == 0 ? 5 : 1;  // a prompt at once, then one by one
      const at::Tensor step = generator->feed(small.inputs.narrow(1, at, count));
      at += count;
      const at::Tensor full = small.model->logits(small.inputs.narrow(1, 0, at)).select(1, at - 1);
      INFO("after " << at << " tokens");
      REQUIRE(step.sizes() == at::IntArrayRef({2, kVocabulary}));
      CHECK(step.scalar_type() == at::kFloat);
      CHECK_FALSE(step.requires_grad());
      CHECK(largest_difference(step, full) < 1e-4);
      CHECK(step.argmax(-1).equal(full.argmax(-1)));
    }
  }
}

TEST_CASE("model: the observer sees the input of every matrix, and the model stays as it was") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel small(name);
    small.stir();
    const double before = small.loss();
    Seen seen;
    small.model->observe(small.inputs, seen);
    for (const std::string& weight : matrices(*small.model)) {
      INFO(weight);
      REQUIRE(seen.inputs.count(weight) == 1);
      CHECK(seen.inputs.find(weight)->second.size(0) == 2 * kSequence);
    }
    for (const auto& [weight, input] : seen.inputs)
      CHECK(input.size(1) == parameter_named(*small.model, weight).tensor.size(1));
    CHECK(small.loss() == before);
  }
}

TEST_CASE("model: a change of a parameter counts after prepare()") {
  for (const std::string& name : components(PluginKind::model)) {
    SmallModel small(name);
    small.stir();
    const at::NoGradGuard no_gradients;  // for all losses alike: a forward pass that keeps gradients may round otherwise
    const double before = small.loss();
    for (const std::string& weight : matrices(*small.model)) {
      INFO(name << ": " << weight);
      at::Tensor value = parameter_named(*small.model, weight).tensor;
      const at::Tensor kept = value.clone();
      value.add_(normal(value.sizes().vec(), "change", 0.1));  // not a factor: a norm may undo that
      small.model->prepare(false);
      CHECK(small.loss() != before);
      value.copy_(kept);
      small.model->prepare(false);
      CHECK(small.loss() == before);
    }
  }
}

TEST_CASE("model: fake quantization equals rounded weights, in training only") {
  for (const std::string& name : components(PluginKind::model)) {
    SmallModel small(name);
    small.stir();
    const double plain = small.loss();
    for (const std::string& weight : matrices(*small.model)) {
      INFO(name << ": " << weight);
      const FakeQuantRule rule{weight, 3};
      small.model->set_fake_quant({&rule, 1});
      small.model->prepare(true);
      const double fake = small.loss();
      small.model->prepare(false);
      CHECK(small.loss() == plain);
      small.model->set_fake_quant({});

      const at::NoGradGuard no_gradients;
      at::Tensor value = parameter_named(*small.model, weight).tensor;
      const at::Tensor kept = value.clone();
      value.copy_(ops::fake_quantize_rows(kept, 3));
      small.model->prepare(true);
      CHECK(fake == Approx(small.loss()).epsilon(1e-5));
      CHECK(fake != plain);
      value.copy_(kept);
      small.model->prepare(false);
    }
    const FakeQuantRule unknown{"no.such.weight", 4};
    CHECK_THROWS_AS(small.model->set_fake_quant({&unknown, 1}), Error);
  }
}

TEST_CASE("model: bfloat16 tells nearly the same loss") {
  for (const std::string& name : components(PluginKind::model)) {
    INFO(name);
    SmallModel full(name), half(name, Precision::bfloat16);
    full.stir();
    half.stir();
    CHECK(half.loss() == Approx(full.loss()).epsilon(0.03));
    CHECK(half.model->logits(half.inputs).scalar_type() == at::kFloat);
    for (const Parameter& parameter : half.model->parameters()) CHECK(parameter.tensor.scalar_type() == at::kFloat);
  }
}
