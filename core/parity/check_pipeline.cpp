// The run as a whole: pipeline. The stages of a run on given tokens: loader, training with its warm-up, averages, GPTQ
// on a given calibration text, the artifact written and read back, flat and sliding scores, test-time training.
#include <vector>

#include "core/artifact/container.h"
#include "core/comm/solo.h"
#include "core/data/loader.h"
#include "core/data/shards.h"
#include "core/eval/adapt.h"
#include "core/eval/evaluate.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"
#include "core/train/train.h"

namespace caddie::parity {
namespace {

void give_score(CheckRun& run, const std::string& part, const eval::Score& score) {
  run.give(part + "/loss", Json(score.loss()));
  run.give(part + "/bits_per_byte", Json(score.bits_per_byte()));
}

// Trains `model`, which holds the initial weights, and gives the loss of every step.
train::TrainResult train_model(CheckRun& run, Model& model, const TrainShape& shape) {
  const TemporaryFolder folder;
  const auto tokens = run.tokens("train_tokens");
  std::vector<std::uint16_t> stored;
  for (std::int64_t i = 0; i < tokens.numel(); ++i)
    stored.push_back(static_cast<std::uint16_t>(tokens[i].item<std::int64_t>()));
  const auto shard = folder.path() / "train_000000.bin";
  data::write_shard(shard, stored);
  data::LoaderSettings loading;
  loading.shards = {shard};
  loading.sequence = shape.sequence;
  loading.tokens_per_step = shape.tokens_per_step;
  loading.micro_batches = shape.micro_batches;
  loading.vocabulary = run.get<std::int64_t>(run.config(), "vocab");
  data::Loader loader(loading);

  const Json manifest = training_manifest(run, run.settings(), shape);
  const auto factors = run.setting<std::vector<double>>("rate_factors");
  SoloCommunicator solo;
  train::TrainJob job{model, loader, solo, run.services(), optimizer_factory(run, manifest), {}, {}, {}, {}, {}};
  job.factor = [&](std::int64_t step) { return factors.at(static_cast<std::size_t>(step)); };
  job.on_step = [&](const train::StepMetrics& step) {
    run.give(concat("train_loss/step_", step.step), Json(step.train_loss));
  };
  return train::train(train::TrainSettings::from_json(manifest), job);
}

// Quantizes the model on the given calibration text; what a reader of the artifact decodes.
artifact::NamedWeights quantized_weights(CheckRun& run, Model& model) {
  std::vector<at::Tensor> batches;
  for (const auto& batch : run.inputs("calibration_")) batches.push_back(batch.to(at::kLong));
  const auto quantized =
      artifact::quantize_model(model, gptq_settings(run), quantizer_factory(run), [&] { return batches; });
  const Json compress = {{"use", "brotli"}};
  const auto factory = [&](const Json& section) {
    return run.catalogue().create_compressor(section, CompressorContext{&run.services()});
  };
  const auto file = artifact::encode_artifact(quantized.tensors, Json::object(), compress, *factory(compress));
  return artifact::decoded_weights(artifact::decode_artifact(file, factory));
}

}  // namespace

void check_pipeline(CheckRun& run) {
  const TrainShape shape{run.setting<std::int64_t>("sequence"), run.setting<std::int64_t>("micro_steps"),
                         run.setting<std::int64_t>("tokens_per_step")};
  eval::Settings scoring;
  scoring.sequence = shape.sequence;
  scoring.stride = run.setting<std::int64_t>("stride");
  const auto text = make_text(run, run.setting<std::string>("tokenizer"), run.tokens("validation_tokens"));

  const auto model = make_model(run, shape.sequence);
  give_score(run, "val_before", eval::flat(*model, text, scoring));
  const auto trained = train_model(run, *model, shape);
  artifact::load_weights(*model, trained.last_weights);
  give_score(run, "val_last_step", eval::flat(*model, text, scoring));
  artifact::load_weights(*model, trained.weights);
  artifact::load_weights(*model, quantized_weights(run, *model));
  give_score(run, "round_trip", eval::flat(*model, text, scoring));
  give_score(run, "sliding", eval::sliding(*model, text, scoring));

  const Json settings = run.setting<Json>("ttt");
  if (settings.value("world", 1) != 1) throw NotCovered{"several ranks in one process"};
  const Json section = ttt_section(run, settings);
  const auto strategy = run.catalogue().create_ttt(section, TttContext{&run.services()});
  scoring.sequence = run.get<std::int64_t>(settings, "sequence");
  scoring.stride = run.get<std::int64_t>(settings, "stride");
  const auto adapted = eval::adapt(*model, text, scoring, eval::TttSettings::from_json(section), *strategy);
  give_score(run, "ttt", adapted.score);
}

}  // namespace caddie::parity
