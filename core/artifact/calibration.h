// Calibration: tokens to show to the model, and the second moments of its linear maps' inputs (reference section 4).
// Nothing here knows what a quantizer does with them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "caddie/model.h"
#include "caddie/quantizer.h"
#include "caddie/services.h"
#include "core/base/json.h"

namespace caddie::artifact {

enum class CalibrationSource { self, train, random };

// The manifest's quantize.calibrate.
struct CalibrateSettings {
  CalibrationSource source = CalibrationSource::self;  // the model's own samples, training data, or uniform tokens
  std::int64_t sequences = 16;
  std::int64_t length = 512;
  double temperature = 1.0;  // of self-generation; 0: the likeliest token, always
  std::int64_t batch = 1;    // sequences a forward pass, and the "batch" that Hessians are averaged over
  // Layer by layer: each layer's inputs are those that the quantized layers before it make (GPTQ's own procedure).
  bool sequential = false;
  CADDIE_API static CalibrateSettings from_json(const Json& section);
};

// Sequences [sequences, length] (int64, on `device`) that the model writes itself: the first token uniform over the
// vocabulary, the others sampled at `temperature`. Each sequence has a random stream of its own. `cached` false
// recomputes every position from the whole prefix: slow, the oracle of the key/value cache. `recorded`: with the step that a
// device records and repeats, which is the way on all devices but the CPU.
CADDIE_API at::Tensor self_generated_tokens(Model& model, std::int64_t vocabulary, std::int64_t sequences,
                                            std::int64_t length, double temperature, const Random& random,
                                            at::Device device, bool cached = true, bool recorded = false);
CADDIE_API at::Tensor random_tokens(std::int64_t vocabulary, std::int64_t sequences, std::int64_t length,
                                    const Random& random, at::Device device);

// Weights that were announced together, and the Hessian of the input that they share.
class CADDIE_API SharedCalibration final : public Calibration {
 public:
  explicit SharedCalibration(at::Tensor hessian) : hessian_(std::move(hessian)) {}
  at::Tensor hessian() const override { return hessian_; }

 private:
  at::Tensor hessian_;
};

// Adds up X^T X, one float32 [C, C] sum for each distinct input; weights that share an input share the sum.
class CADDIE_API HessianCollector final : public LinearObserver {
 public:
  // `wanted` says which weights will be asked for; inputs of none of them are passed over. Empty: all.
  explicit HessianCollector(std::function<bool(const std::string&)> wanted = {});
  ~HessianCollector() override;
  void input(std::span<const std::string> weights, const at::Tensor& input) override;
  void end_batch() { ++batches_; }

  // Names in the order of their first announcement, those of one input together.
  const std::vector<std::vector<std::string>>& groups() const { return groups_; }
  bool has(const std::string& weight) const { return group_of_.contains(weight); }
  // The sum divided by the number of batches. Throws Error(failed) for a weight that no forward pass announced.
  std::shared_ptr<const SharedCalibration> calibration(const std::string& weight) const;
  at::Tensor hessian(const std::string& weight) const { return calibration(weight)->hessian(); }
  // The names that share that weight's input, itself among them.
  const std::vector<std::string>& group(const std::string& weight) const;

 private:
  std::function<bool(const std::string&)> wanted_;
  std::vector<std::vector<std::string>> groups_;
  std::vector<at::Tensor> sums_;  // upper block triangle
  std::map<std::string, std::size_t> group_of_;
  std::int64_t batches_ = 0;
};

// Runs the model (fake quantization off) over batches [B, T] of token ids, each without its last token.
CADDIE_API void collect_hessians(Model& model, std::span<const at::Tensor> batches, HessianCollector& collector);
// tokens [sequences, length] in batches of at most `batch` sequences.
CADDIE_API std::vector<at::Tensor> split_batches(const at::Tensor& tokens, std::int64_t batch);

}  // namespace caddie::artifact
