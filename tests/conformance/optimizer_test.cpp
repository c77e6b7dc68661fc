// Optimizers: they descend, repeat themselves bit for bit, survive a checkpoint bit for bit, and leave gradients alone.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "core/comm/solo.h"
#include "tests/conformance/suite.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

class Saved final : public StateWriter, public StateReader {
 public:
  void tensor(std::string_view name, const at::Tensor& value) override {
    CHECK(tensors.emplace(std::string(name), value.detach().clone()).second);  // a name is given once
  }
  void number(std::string_view name, double value) override { CHECK(numbers.emplace(std::string(name), value).second); }
  at::Tensor tensor(std::string_view name) const override {
    const auto found = tensors.find(std::string(name));
    CADDIE_CHECK(found != tensors.end(), ErrorKind::data, "no tensor '", name, "'");
    return found->second;
  }
  double number(std::string_view name) const override {
    const auto found = numbers.find(std::string(name));
    CADDIE_CHECK(found != numbers.end(), ErrorKind::data, "no number '", name, "'");
    return found->second;
  }
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, double> numbers;
};

// Three matrices, two of one shape, as leaves; the loss is half the squared distance to a target.
struct Problem {
  QuietServices services;
  SoloCommunicator communicator;
  std::vector<OptimizedParameter> parameters;
  std::vector<at::Tensor> targets;

  Problem() {
    const at::NoGradGuard no_gradients;
    int index = 0;
    for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{12, 8}, {12, 8}, {6, 10}}) {
      const std::string name = "blocks." + std::to_string(index++) + ".weight";
      const at::Tensor value = normal(shape, name, 0.3).set_requires_grad(true);
      parameters.push_back({name, value, at::zeros_like(value)});
      targets.push_back(normal(shape, "target of " + name, 0.3));
    }
  }
  std::shared_ptr<Optimizer> make(const std::string& name) {
    return catalogue().create_optimizer(small_section(PluginKind::optimizer, name), {&services, &communicator, parameters});
  }
  double loss() const {
    double sum = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i)
      sum += parameters[i].value.detach().sub(targets[i]).pow(2).sum().item<double>() / 2;
    return sum;
  }
  void compute_gradients() {
    const at::NoGradGuard no_gradients;
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i].gradient.copy_(parameters[i].value.detach().sub(targets[i]));
  }
  void run(Optimizer& optimizer, std::int64_t from, std::int64_t until) {
    for (std::int64_t step = from; step < until; ++step) {
      compute_gradients();
      optimizer.step({step, 1.0 - 0.01 * static_cast<double>(step)});
    }
  }
  std::vector<at::Tensor> values() const {
    std::vector<at::Tensor> list;
    for (const auto& parameter : parameters) list.push_back(parameter.value.detach().clone());
    return list;
  }
  void set(const std::vector<at::Tensor>& list) {
    const at::NoGradGuard no_gradients;
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].value.copy_(list[i]);
  }
};

void check_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i], b[i]));
}

}  // namespace

TEST_CASE("optimizer: its defaults descend, and twice the same way") {
  for (const std::string& name : components(PluginKind::optimizer)) {
    INFO(name);
    Problem first, second;
    const double before = first.loss();
    const auto one = first.make(name), two = second.make(name);
    first.run(*one, 0, 8);
    second.run(*two, 0, 8);
    CHECK(std::isfinite(first.loss()));
    CHECK(first.loss() < before);
    check_same(first.values(), second.values());
  }
}

TEST_CASE("optimizer: values stay leaves, gradients stay as they are, a rate of 0 moves nothing") {
  for (const std::string& name : components(PluginKind::optimizer)) {
    INFO(name);
    Problem problem;
    const auto optimizer = problem.make(name);
    problem.compute_gradients();
    std::vector<at::Tensor> gradients;
    for (const auto& parameter : problem.parameters) gradients.push_back(parameter.gradient.clone());
    const auto before = problem.values();
    optimizer->step({0, 0.0});
    check_same(before, problem.values());
    optimizer->step({1, 1.0});
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      CHECK(same_bits(gradients[i], problem.parameters[i].gradient));
      CHECK_FALSE(same_bits(before[i], problem.parameters[i].value));
      CHECK(problem.parameters[i].value.is_leaf());
      CHECK(problem.parameters[i].value.requires_grad());
    }
  }
}

TEST_CASE("optimizer: saved and loaded, it goes on bit for bit") {
  for (const std::string& name : components(PluginKind::optimizer)) {
    INFO(name);
    Problem whole;
    const auto uninterrupted = whole.make(name);
    whole.run(*uninterrupted, 0, 3);
    Saved saved;
    uninterrupted->save(saved);
    const auto at_three = whole.values();
    whole.run(*uninterrupted, 3, 6);

    Problem resumed;
    resumed.set(at_three);
    const auto fresh = resumed.make(name);
    fresh->load(saved);
    Saved again;
    fresh->save(again);
    CHECK(again.numbers == saved.numbers);
    REQUIRE(again.tensors.size() == saved.tensors.size());
    for (const auto& [key, value] : saved.tensors) CHECK(same_bits(value, again.tensors.at(key)));
    resumed.run(*fresh, 3, 6);
    check_same(whole.values(), resumed.values());
  }
}

TEST_CASE("optimizer: warm-up steps can be undone with its state") {
  // The framework saves, takes steps that only warm caches, and loads: as if nothing had been.
  for (const std::string& name : components(PluginKind::optimizer)) {
    INFO(name);
    Problem plain, warmed;
    const auto one = plain.make(name), two = warmed.make(name);
    Saved saved;
    two->save(saved);
    const auto start = warmed.values();
    warmed.run(*two, 0, 2);
    two->load(saved);
    warmed.set(start);
    plain.run(*one, 0, 3);
    warmed.run(*two, 0, 3);
    check_same(plain.values(), warmed.values());
  }
}

TEST_CASE("optimizer: a checkpoint without its state is an error, and the state's size is told") {
  for (const std::string& name : components(PluginKind::optimizer)) {
    INFO(name);
    Problem problem;
    const auto optimizer = problem.make(name);
    problem.run(*optimizer, 0, 2);
    Saved saved;
    optimizer->save(saved);
    std::size_t bytes = 0;
    for (const auto& [key, value] : saved.tensors) bytes += value.nbytes();
    CHECK(optimizer->state_bytes() >= 0);
    // Scratch may come on top of what is saved, but not much of it.
    CHECK(static_cast<double>(optimizer->state_bytes()) >= 0.9 * static_cast<double>(bytes));
    if (!saved.tensors.empty()) CHECK_THROWS_AS(optimizer->load(Saved()), Error);
  }
}

TEST_CASE("optimizer: an empty group is no error") {
  QuietServices services;
  SoloCommunicator communicator;
  for (const std::string& name : components(PluginKind::optimizer)) {
    INFO(name);
    const auto optimizer = catalogue().create_optimizer({{"use", name}}, {&services, &communicator, {}});
    CHECK_NOTHROW(optimizer->step({0, 1.0}));
    CHECK(optimizer->state_bytes() == 0);
  }
}
