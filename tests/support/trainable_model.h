// A model small enough for tests of training: logits are E (x + gain * down tanh(up x)) with x = E[token],
// plain ATen throughout, weights fake-quantized straight through.
// Parameters of all three roles: "embedding.weight" [V, D], "core.up.weight" [2D, D], "core.down.weight" [D, 2D],
// "core.gain" [D].
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>

#include <functional>
#include <memory>
#include <vector>

#include "caddie/error.h"
#include "caddie/model.h"
#include "caddie/ops.h"

namespace caddie::testing {

class TrainableModel final : public Model {
 public:
  explicit TrainableModel(std::int64_t vocabulary = 13, std::int64_t width = 8) : vocabulary_(vocabulary) {
    const auto add = [this](const char* name, std::vector<std::int64_t> shape, Role role, const char* group, int layer) {
      parameters_.push_back({name, at::empty(shape, at::kFloat).requires_grad_(true), role, group, layer});
    };
    add("embedding.weight", {vocabulary, width}, Role::embedding, "embedding", -1);
    add("core.up.weight", {2 * width, width}, Role::matrix, "core", 0);
    add("core.down.weight", {width, 2 * width}, Role::matrix, "core", 0);
    add("core.gain", {width}, Role::vector, "core", 0);
    Random random(7, "tiny");
    initialize(random);
  }

  const std::vector<Parameter>& parameters() override { return parameters_; }
  void initialize(Random& random) override {
    const at::NoGradGuard guard;
    for (auto& parameter : parameters_) {
      float* values = parameter.tensor.mutable_data_ptr<float>();
      for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i)
        values[i] = static_cast<float>(0.4 * random.normal() + (parameter.role == Role::vector ? 1 : 0));
    }
  }
  void set_fake_quant(std::span<const FakeQuantRule> rules) override { rules_.assign(rules.begin(), rules.end()); }
  void set_progress(double share) override { progress = share; }
  void prepare(bool training) override {
    ++prepared;
    const at::NoGradGuard guard;
    compute_.clear();
    for (const auto& parameter : parameters_) {
      compute_.push_back(parameter.tensor.detach());
      for (const auto& rule : rules_)
        if (training && rule.parameter == parameter.name)
          compute_.back() = ops::fake_quantize_rows(parameter.tensor.detach(), rule.bits);
    }
  }
  at::Tensor loss(const at::Tensor& tokens, const at::Tensor& targets) override {
    last_tokens = tokens;
    const at::Tensor z = forward(tokens, true).back();
    const at::Tensor mean = at::cross_entropy_loss(z.reshape({-1, vocabulary_}), targets.reshape({-1}));
    return tamper ? tamper(mean) : mean;
  }
  at::Tensor nats(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t from) override {
    const at::NoGradGuard guard;
    const at::Tensor z = forward(tokens, false).back().slice(1, from);
    const at::Tensor t = targets.slice(1, from);
    return at::cross_entropy_loss(z.reshape({-1, vocabulary_}), t.reshape({-1}), {}, 0).view(t.sizes());
  }
  at::Tensor logits(const at::Tensor& tokens) override {
    const at::NoGradGuard guard;
    return forward(tokens, false).back();
  }
  std::vector<at::Tensor> trace(const at::Tensor& tokens) override {
    const at::NoGradGuard guard;
    return forward(tokens, false);
  }
  std::unique_ptr<Generator> generator(std::int64_t, std::int64_t) override { return nullptr; }
  void observe(const at::Tensor&, LinearObserver&) override {}
  std::int64_t activation_bytes(std::int64_t tokens) const override { return 64 * tokens; }
  double training_flops_per_token() const override { return 1; }
  std::string path() const override { return "tiny float32"; }

  int prepared = 0;                                   // calls of prepare()
  double progress = 1;                                // the last one told
  at::Tensor last_tokens;                             // of the last loss
  std::function<at::Tensor(const at::Tensor&)> tamper;  // if set, changes each loss
  const std::vector<FakeQuantRule>& rules() const { return rules_; }

 private:
  // A weight whose product uses the compute copy and whose gradient reaches the master, straight through.
  at::Tensor weight(std::size_t i, bool differentiable) const {
    const at::Tensor& master = parameters_[i].tensor;
    return differentiable ? master.add(compute_.at(i).sub(master.detach())) : compute_.at(i);
  }
  std::vector<at::Tensor> forward(const at::Tensor& tokens, bool differentiable) const {
    const at::Tensor embedding = weight(0, differentiable);
    const at::Tensor x = at::embedding(embedding, tokens);
    const at::Tensor hidden = x.matmul(weight(1, differentiable).t()).tanh();
    const at::Tensor y = x.add(hidden.matmul(weight(2, differentiable).t()).mul(weight(3, differentiable)));
    return {y, y.matmul(embedding.t())};
  }

  std::int64_t vocabulary_;
  std::vector<Parameter> parameters_;
  std::vector<at::Tensor> compute_;
  std::vector<FakeQuantRule> rules_;
};

// Services that log nothing.
class QuietServices final : public Services {
 public:
  void log(LogLevel, std::string_view) override {}
  bool cancelled() const override { return false; }
  int threads() const override { return 1; }
};

}  // namespace caddie::testing
