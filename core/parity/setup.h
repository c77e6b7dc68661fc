// From a bundle's words to the program's: the model of its config, manifest sections of its settings, texts with their
// byte counts. What several checks need.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "caddie/model.h"
#include "caddie/ops.h"
#include "core/artifact/quantize.h"
#include "core/eval/score.h"
#include "core/parity/check.h"
#include "core/train/settings.h"
#include "core/train/trainer.h"

namespace caddie::parity {

// The bundle's model in float32 on the CPU, with the given parameters, prepared for evaluation. Throws Error(data) if
// its parameters are not those that the bundle lists.
std::shared_ptr<Model> make_model(const CheckRun& run, const NamedTensors& parameters, std::int64_t max_sequence);
std::shared_ptr<Model> make_model(const CheckRun& run, std::int64_t max_sequence);  // with the input "parameters"
// Switches the config's fake quantization on, and prepares for training.
void fake_quantize(const CheckRun& run, Model& model);

// Sections `train` and `optimizers` of a resolved manifest for settings of the kinds `train` and `pipeline`.
struct TrainShape {
  std::int64_t sequence, micro_batches, tokens_per_step;
};
Json training_manifest(const CheckRun& run, const Json& settings, const TrainShape& shape);
// Makes the optimizers of a manifest, from the catalogue's plugins.
train::OptimizerFactory optimizer_factory(const CheckRun& run, const Json& manifest);

// Tokens [n + 1] and the bytes of their targets, by the byte table of a tokenizer.
eval::Text make_text(const CheckRun& run, const std::string& tokenizer, const at::Tensor& tokens);

// The section `ttt` of settings of the kinds `ttt` and `pipeline`.
Json ttt_section(const CheckRun& run, const Json& settings);

artifact::QuantizerFactory quantizer_factory(const CheckRun& run);
// Bits of codes from -top to top. Throws NotCovered if no width has this top.
int bits_of_top(std::int64_t top);
// The section `quantize` of kinds `gptq_model` and `pipeline`: GPTQ on matrices, the embedding rounded to 8 bits, and
// the export's second rounding.
artifact::QuantizeSettings gptq_settings(const CheckRun& run);

// A folder that is removed with everything in it.
class CADDIE_API TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace caddie::parity
