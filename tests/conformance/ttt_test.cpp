// Test-time training: a strategy changes only what it is given, reads only the chunk that was scored, and repeats itself.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>

#include "tests/conformance/suite.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::conformance;

namespace {

constexpr std::int64_t kVocabulary = 24, kWidth = 8, kSequence = 12;

// Scores from embedding[token] * scale through a head: two parameters may change, the head is frozen.
class SmallLearner final : public Learner {
 public:
  SmallLearner() {
    frozen = normal({kVocabulary, kWidth}, "head").set_requires_grad(true);
    parameters_ = {{"embedding.weight", normal({kVocabulary, kWidth}, "embedding", 0.5).set_requires_grad(true), Role::embedding, "embedding", -1},
                   {"scale", normal({kWidth}, "scale").set_requires_grad(true), Role::vector, "control", -1}};
  }
  std::span<const Parameter> parameters() override { return parameters_; }
  at::Tensor loss(const at::Tensor& inputs, const at::Tensor& targets) {
    const at::Tensor x = parameters_[0].tensor.index_select(0, inputs.reshape({-1})).mul(parameters_[1].tensor);
    return at::log_softmax(x.matmul(frozen.t()), -1).gather(1, targets.reshape({-1, 1})).mean().neg();
  }
  double gradients(const at::Tensor& inputs, const at::Tensor& targets, std::vector<at::Tensor>& out) override {
    ++calls;
    for (std::int64_t row = 0; row < inputs.size(0); ++row) CHECK(is_row_of_chunk(inputs[row], targets[row]));
    REQUIRE(inputs.size(0) > 0);
    at::Tensor value;
    {
      const at::AutoGradMode on(true);
      value = loss(inputs, targets);
      value.backward();
    }
    out.clear();
    for (const auto& parameter : parameters_) {
      out.push_back(parameter.tensor.grad().clone());
      parameter.tensor.mutable_grad() = at::Tensor();
    }
    frozen.mutable_grad() = at::Tensor();
    return value.item<double>();
  }
  bool is_row_of_chunk(const at::Tensor& input, const at::Tensor& target) const {
    for (std::int64_t row = 0; row < chunk.inputs.size(0); ++row)
      if (chunk.inputs[row].equal(input) && chunk.targets[row].equal(target)) return true;
    return false;
  }

  ScoredChunk chunk;
  at::Tensor frozen;
  int calls = 0;

 private:
  std::vector<Parameter> parameters_;
};

ScoredChunk chunk_at(std::int64_t index, std::int64_t count, std::int64_t rows) {
  // A text with a rule: the next token is mostly the current one plus one.
  const at::Tensor text = tokens(rows, kSequence + 1, kVocabulary, "chunk " + std::to_string(index));
  for (std::int64_t i = 1; i <= kSequence; ++i) text.select(1, i).copy_(text.select(1, i - 1).add(1).remainder(kVocabulary));
  return {index, count, text.narrow(1, 0, kSequence).contiguous(), text.narrow(1, 1, kSequence).contiguous()};
}

std::shared_ptr<TttStrategy> make(const std::string& name) {
  static QuietServices services;
  return catalogue().create_ttt(small_section(PluginKind::ttt, name), TttContext{&services});
}

// Adapts over all chunks but the last, as the host does.
void adapt_all(TttStrategy& strategy, SmallLearner& learner, std::int64_t count, std::int64_t rows) {
  for (std::int64_t i = 0; i + 1 < count; ++i) {
    learner.chunk = chunk_at(i, count, rows);
    strategy.adapt(learner.chunk, learner);
  }
}

}  // namespace

TEST_CASE("ttt: frozen parameters stay, the others learn from the chunk alone") {
  for (const std::string& name : components(PluginKind::ttt)) {
    const auto strategy = make(name);
    if (!strategy->adapts()) continue;  // the next test has these
    for (const std::int64_t rows : {1, 7}) {
      INFO(name << ", " << rows << " sequences a chunk");
      SmallLearner learner;
      const at::Tensor frozen = learner.frozen.detach().clone(), before = learner.parameters()[0].tensor.detach().clone();
      const ScoredChunk last = chunk_at(3, 4, rows);
      const double loss_before = learner.loss(last.inputs, last.targets).item<double>();
      adapt_all(*make(name), learner, 4, rows);
      CHECK(learner.calls > 0);
      CHECK(same_bits(frozen, learner.frozen));
      CHECK_FALSE(same_bits(before, learner.parameters()[0].tensor));
      for (const auto& parameter : learner.parameters()) {
        CHECK(parameter.tensor.isfinite().all().item<bool>());
        CHECK(parameter.tensor.is_leaf());
      }
      CHECK(learner.loss(last.inputs, last.targets).item<double>() < loss_before);
    }
  }
}

TEST_CASE("ttt: the chunk's tokens are only read, and the result repeats bit for bit") {
  for (const std::string& name : components(PluginKind::ttt)) {
    INFO(name);
    SmallLearner first, second;
    const auto strategy = make(name);
    adapt_all(*strategy, first, 4, 5);
    adapt_all(*make(name), second, 4, 5);
    for (std::size_t i = 0; i < first.parameters().size(); ++i)
      CHECK(same_bits(first.parameters()[i].tensor, second.parameters()[i].tensor));
    const ScoredChunk fresh = chunk_at(2, 4, 5);
    CHECK(fresh.inputs.equal(first.chunk.inputs));
    CHECK(fresh.targets.equal(first.chunk.targets));
    if (!strategy->adapts()) CHECK(same_bits(first.parameters()[0].tensor, SmallLearner().parameters()[0].tensor));
  }
}

TEST_CASE("ttt: rates are numbers for every chunk, and 0 where nothing is ever trained") {
  for (const std::string& name : components(PluginKind::ttt)) {
    INFO(name);
    const auto strategy = make(name);
    for (const std::int64_t count : {1, 2, 9})
      for (std::int64_t chunk = 0; chunk < count; ++chunk) {
        const double rate = strategy->rate(chunk, count);
        CHECK(std::isfinite(rate));
        CHECK(rate >= 0);
        if (!strategy->adapts()) CHECK(rate == 0);
      }
    if (strategy->adapts()) CHECK(strategy->rate(0, 9) > 0);
  }
}
