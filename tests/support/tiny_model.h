// A small causal model for tests of training and evaluation, far simpler than any plugin: the mean of the embeddings
// so far goes through one matrix, a tanh and a gain, and the tied embedding makes the logits. Its scores depend on
// where a window starts, it has one parameter of each role, and training mode rounds the matrix.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <memory>
#include <string>
#include <vector>

#include "caddie/error.h"
#include "caddie/model.h"

namespace caddie::tests {

class TinyModel final : public Model {
 public:
  TinyModel(std::int64_t vocabulary, std::int64_t width, std::uint64_t seed) : vocabulary_(vocabulary) {
    const auto leaf = [](at::IntArrayRef shape) { return at::zeros(shape).requires_grad_(true); };
    parameters_ = {{"embedding.weight", leaf({vocabulary, width}), Role::embedding, "embedding", -1},
                   {"layer.weight", leaf({width, width}), Role::matrix, "mlp", 0},
                   {"layer.gain", leaf({width}), Role::vector, "control", 0}};
    Random random(seed, "tiny model");
    initialize(random);
    prepare(false);
  }

  const std::vector<Parameter>& parameters() override { return parameters_; }
  void initialize(Random& random) override {
    const at::NoGradGuard no_gradients;
    for (auto& parameter : parameters_) {
      at::Tensor values = at::zeros({parameter.tensor.numel()});
      float* data = values.mutable_data_ptr<float>();
      for (std::int64_t i = 0; i < values.numel(); ++i) {
        data[i] = static_cast<float>(random.normal()) * 0.5f + (parameter.role == Role::vector ? 1.0f : 0.0f);
      }
      parameter.tensor.copy_(values.view(parameter.tensor.sizes()));
    }
  }
  void set_fake_quant(std::span<const FakeQuantRule> rules) override { fake_quant_ = !rules.empty(); }
  void prepare(bool training) override {
    const at::NoGradGuard no_gradients;
    ++prepared_;
    rounding_ = parameters_[1].tensor.mul(0);
    if (training && fake_quant_) rounding_ = parameters_[1].tensor.mul(4).round().div(4).sub(parameters_[1].tensor);
  }

  at::Tensor loss(const at::Tensor& tokens, const at::Tensor& targets) override {
    return cross_entropy(forward(tokens), targets).mean();
  }
  at::Tensor nats(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t from) override {
    const at::NoGradGuard no_gradients;
    const std::int64_t count = tokens.size(1) - from;
    return cross_entropy(forward(tokens).narrow(1, from, count), targets.narrow(1, from, count));
  }
  at::Tensor logits(const at::Tensor& tokens) override {
    const at::NoGradGuard no_gradients;
    return forward(tokens);
  }
  std::vector<at::Tensor> trace(const at::Tensor& tokens) override { return {logits(tokens)}; }

  std::unique_ptr<Generator> generator(std::int64_t batch, std::int64_t capacity) override {
    class Cached final : public Generator {
     public:
      Cached(TinyModel& model, std::int64_t batch, std::int64_t capacity)
          : model_(model), capacity_(capacity), sum_(at::zeros({batch, model.parameters_[1].tensor.size(0)})) {}
      at::Tensor feed(const at::Tensor& tokens) override {
        const at::NoGradGuard no_gradients;
        seen_ += tokens.size(1);
        CADDIE_CHECK(seen_ <= capacity_, ErrorKind::failed, "the tiny generator is full");
        sum_ = sum_.add(at::embedding(model_.parameters_[0].tensor, tokens).sum(1));
        return model_.head(sum_.div(static_cast<double>(seen_)).unsqueeze(1)).select(1, 0);
      }

     private:
      TinyModel& model_;
      std::int64_t capacity_, seen_ = 0;
      at::Tensor sum_;
    };
    return std::make_unique<Cached>(*this, batch, capacity);
  }
  void observe(const at::Tensor& tokens, LinearObserver& observer) override {
    const at::NoGradGuard no_gradients;
    const std::string name = parameters_[1].name;
    observer.input({&name, 1}, mean_so_far(tokens).flatten(0, 1));
  }

  std::int64_t activation_bytes(std::int64_t tokens) const override { return tokens * vocabulary_ * 8; }
  double training_flops_per_token() const override {
    return 6.0 * static_cast<double>(parameters_[0].tensor.numel() + parameters_[1].tensor.numel());
  }
  std::string path() const override { return "tiny float32"; }
  int prepared() const { return prepared_; }  // calls of prepare() so far

 private:
  at::Tensor mean_so_far(const at::Tensor& tokens) {
    const at::Tensor length = at::arange(1, tokens.size(1) + 1, at::kFloat).unsqueeze(1);
    return at::embedding(parameters_[0].tensor, tokens).cumsum(1).div(length);
  }
  at::Tensor head(const at::Tensor& mean) {
    const at::Tensor weight = parameters_[1].tensor.add(rounding_);
    const at::Tensor hidden = at::matmul(mean, weight.t()).tanh().mul(parameters_[2].tensor);
    return at::matmul(hidden, parameters_[0].tensor.t());
  }
  at::Tensor forward(const at::Tensor& tokens) { return head(mean_so_far(tokens)); }
  static at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
    return logits.log_softmax(-1).gather(2, targets.unsqueeze(2)).squeeze(2).neg();
  }

  std::int64_t vocabulary_;
  std::vector<Parameter> parameters_;
  bool fake_quant_ = false;
  int prepared_ = 0;
  at::Tensor rounding_;
};

}  // namespace caddie::tests
