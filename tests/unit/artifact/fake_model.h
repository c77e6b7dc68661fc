// A model of four weights whose linear inputs are known: two weights share one input, a third has another.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <memory>
#include <string>
#include <vector>

#include "caddie/error.h"
#include "caddie/model.h"
#include "caddie/ops.h"
#include "caddie/quantizer.h"

namespace fakes {

using namespace caddie;

class FakeModel final : public Model {
 public:
  static constexpr std::int64_t kVocabulary = 24, kWidth = 8, kHidden = 20;

  FakeModel() {
    parameters_ = {{"embedding.weight", at::randn({kVocabulary, kWidth}), Role::embedding, "embedding", -1},
                   {"blocks.0.query.weight", at::randn({6, kWidth}), Role::matrix, "attention", 0},
                   {"blocks.0.scale", at::randn({kWidth}), Role::vector, "control", 0},
                   {"blocks.0.key.weight", at::randn({4, kWidth}), Role::matrix, "attention", 0},
                   {"blocks.0.up.weight", at::randn({kHidden, kWidth}), Role::matrix, "mlp", 0},
                   {"blocks.0.down.weight", at::randn({kWidth, kHidden}), Role::matrix, "mlp", 0}};
  }

  const std::vector<Parameter>& parameters() override { return parameters_; }
  void initialize(Random&) override {}
  void set_fake_quant(std::span<const FakeQuantRule>) override {}
  void prepare(bool training) override {
    CADDIE_ASSERT(!training);
    ++prepared;
  }
  at::Tensor loss(const at::Tensor&, const at::Tensor&) override { return {}; }
  at::Tensor nats(const at::Tensor&, const at::Tensor&, std::int64_t) override { return {}; }
  std::vector<at::Tensor> trace(const at::Tensor&) override { return {}; }
  std::int64_t activation_bytes(std::int64_t) const override { return 0; }
  double training_flops_per_token() const override { return 0; }
  std::string path() const override { return "fake"; }

  // The running sum of embeddings times the embedding: depends on the whole prefix.
  at::Tensor logits(const at::Tensor& tokens) override {
    return at::linear(hidden(tokens).cumsum(1), parameters_[0].tensor);
  }
  std::unique_ptr<Generator> generator(std::int64_t batch, std::int64_t capacity) override {
    class Cached final : public Generator {
     public:
      Cached(FakeModel& model, std::int64_t batch, std::int64_t capacity)
          : model_(model), sum_(at::zeros({batch, kWidth})), left_(capacity) {}
      at::Tensor feed(const at::Tensor& tokens) override {
        left_ -= tokens.size(1);
        CADDIE_ASSERT(left_ >= 0);
        sum_ = sum_.add(model_.hidden(tokens).sum(1));
        return at::linear(sum_, model_.parameters_[0].tensor);
      }

     private:
      FakeModel& model_;
      at::Tensor sum_;
      std::int64_t left_;
    };
    return std::make_unique<Cached>(*this, batch, capacity);
  }
  void observe(const at::Tensor& tokens, LinearObserver& observer) override {
    observed.push_back(tokens);
    const auto x = hidden(tokens).flatten(0, 1);
    const std::string attention[] = {"blocks.0.query.weight", "blocks.0.key.weight"}, up[] = {"blocks.0.up.weight"},
                      down[] = {"blocks.0.down.weight"};
    observer.input(attention, x);
    observer.input(up, x.mul(2));
    observer.input(down, at::linear(x, parameters_[4].tensor).relu());
  }

  int prepared = 0;
  std::vector<at::Tensor> observed;

 private:
  at::Tensor hidden(const at::Tensor& tokens) const { return at::embedding(parameters_[0].tensor, tokens); }
  std::vector<Parameter> parameters_;
};

// Rounds to 5 bits; notes what it was called with.
class FakeQuantizer final : public Quantizer {
 public:
  explicit FakeQuantizer(bool calibrated) : calibrated_(calibrated) {}
  bool needs_calibration() const override { return calibrated_; }
  std::vector<QuantizedTensor> quantize(std::span<const Weight> weights, const Calibration* calibration) override {
    std::string call;
    std::vector<QuantizedTensor> results;
    for (const auto& weight : weights) {
      call += (call.empty() ? "" : "+") + weight.name;
      auto [codes, steps] = ops::quantize_rows(weight.value, 5);
      results.push_back({Encoding::row_codes, codes.clamp(-14, 14), steps, 5, false, calibrated_ ? "calibrated" : ""});
    }
    calls.push_back(call);
    hessians.push_back(calibration ? calibration->hessian() : at::Tensor());
    return results;
  }
  ExpectedSize expected_size(std::int64_t rows, std::int64_t columns) const override {
    return expected_row_codes(5, rows, columns);
  }
  std::vector<std::string> calls;
  std::vector<at::Tensor> hessians;

 private:
  bool calibrated_;
};

}  // namespace fakes
