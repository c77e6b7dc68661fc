// A model: named parameters, a differentiable loss, scores of tokens, a generator with a key/value cache, and a hook on
// the inputs of its linear maps. The runtime assumes no architecture.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "caddie/component.h"
#include "caddie/services.h"

namespace caddie {

// The role decides the default optimizer, the quantizer and what `match: matrix` means in a manifest.
enum class Role { matrix, embedding, vector };

struct Parameter {
  std::string name;    // "blocks.3.mlp.up.weight"
  at::Tensor tensor;   // float32 master, a leaf with requires_grad; on the meta device while planning
  Role role;
  std::string group;   // of the model's own choice, lower_snake: "attention", "mlp", "embedding", "control", ...
  int layer;           // -1: belongs to no layer
};

enum class Precision { float32, bfloat16 };  // of activations and of the weights' compute copies

struct FakeQuantRule {
  std::string parameter;  // a parameter's name
  int bits;               // 2 to 8; reference section 3: per row, straight-through
};

// Sees the inputs of linear maps, for calibration. Weights that share an input are announced together.
class CADDIE_API LinearObserver {
 public:
  virtual ~LinearObserver();
  // `input` is [rows, columns], detached; columns = the columns of every named weight.
  virtual void input(std::span<const std::string> weights, const at::Tensor& input) = 0;
};

// Continues sequences. Holds keys and values of the positions that it has seen.
class CADDIE_API Generator {
 public:
  virtual ~Generator();
  // Feeds `tokens` [B, T] (int64) at the next T positions; returns the logits [B, V] (float32) after the last one.
  virtual at::Tensor feed(const at::Tensor& tokens) = 0;
  // The same for one token a sequence [B, 1], as work that can be recorded once and repeated (a CUDA graph): from the second
  // call on it is the same work on the same memory. `position`, int64 [1], lies on the model's device and is read there:
  // the count of tokens fed before, which the caller keeps. A generator is fed with one of the two, feed() or feed_at().
  virtual bool feeds_at() const;
  virtual at::Tensor feed_at(const at::Tensor& tokens, const at::Tensor& position);
};

struct ModelContext {
  Services* services;
  at::Device device;
  Precision precision;
  std::int64_t vocabulary;    // pieces of the tokenizer
  std::int64_t max_sequence;  // longest sequence that loss and nats will see
};

class CADDIE_API Model {
 public:
  virtual ~Model();

  // All parameters, in a fixed order. The tensors are the model's own: writing to them changes the model,
  // and prepare() must be called before the next forward pass.
  virtual const std::vector<Parameter>& parameters() = 0;
  // Sets every parameter to its initial value.
  virtual void initialize(Random& random) = 0;

  // Which weights are fake-quantized in training mode. Empty: none.
  virtual void set_fake_quant(std::span<const FakeQuantRule> rules) = 0;
  // Refreshes everything derived from the parameters (low-precision copies, fake-quantized weights). Call it after the
  // parameters changed and before loss, nats, logits, generate or observe. `training` turns fake quantization on.
  virtual void prepare(bool training) = 0;
  // The share of the training budget that is used, 0 to 1, for models whose forward pass changes on the way (a depth that
  // grows). Called before prepare(true) of every step. Scores, samples and calibration use the trained form: 1, which is
  // also what a new model assumes.
  virtual void set_progress(double share);
  // For models whose loss() is the same work for the same shapes, whatever the values, so that it can be recorded once and
  // repeated (a CUDA graph): a number that changes when that work changes (set_progress, set_fake_quant). -1, which is the
  // default: it must not be recorded.
  virtual std::int64_t form() const;

  // Mean cross entropy in nats, a float32 scalar with a gradient graph. tokens, targets: int64 [B, T].
  virtual at::Tensor loss(const at::Tensor& tokens, const at::Tensor& targets) = 0;
  // Nats of each target at positions [from, T), float32 [B, T - from], without gradients.
  virtual at::Tensor nats(const at::Tensor& tokens, const at::Tensor& targets, std::int64_t from) = 0;
  // Logits float32 [B, T, V], without gradients.
  virtual at::Tensor logits(const at::Tensor& tokens) = 0;
  // Output of every block [B, T, D] and then the logits [B, T, V], without gradients: for parity checks and reports.
  virtual std::vector<at::Tensor> trace(const at::Tensor& tokens) = 0;
  // A generator for `batch` sequences of at most `capacity` tokens.
  virtual std::unique_ptr<Generator> generator(std::int64_t batch, std::int64_t capacity) = 0;
  // Runs the forward pass over tokens [B, T] and shows every linear map's input to the observer.
  virtual void observe(const at::Tensor& tokens, LinearObserver& observer) = 0;

  // Estimated bytes of activations that a loss over `tokens` tokens keeps for its backward pass.
  virtual std::int64_t activation_bytes(std::int64_t tokens) const = 0;
  // Floating-point operations of forward and backward per token, for predictions.
  virtual double training_flops_per_token() const = 0;
  // Names the numeric path that computes losses and scores, for the run's record ("fused float32", ...).
  virtual std::string path() const = 0;
};

template <class T>
constexpr Component model_component(const char* name, const char* summary, std::uint32_t behaviour_version,
                                    std::span<const OptionSpec> options) {
  return make_component<Model, T, ModelContext>(PluginKind::model, name, summary, behaviour_version, options.data(),
                                                options.size());
}

}  // namespace caddie
