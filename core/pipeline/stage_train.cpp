// The data and train stages: shards and identity; final weights, last weights and metrics.
#include <ATen/ops/stack.h>

#include <algorithm>
#include <fstream>

#include "caddie/error.h"
#include "core/artifact/quantized_model.h"
#include "core/base/files.h"
#include "core/base/safetensors.h"
#include "core/data/loader.h"
#include "core/data/pull/pull.h"
#include "core/data/source.h"
#include "core/pipeline/stages.h"
#include "core/pipeline/weights_files.h"
#include "core/train/train.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

// After a resume the metrics of steps that are done again are dropped.
void keep_metrics_up_to(const fs::path& path, std::int64_t steps) {
  if (!fs::exists(path)) return;
  std::string kept;
  for (const Json& line : read_json_lines(path))
    if (line.value("step", std::int64_t{0}) <= steps) kept += canonical(line) + "\n";
  write_atomic(path, kept);
}

Json to_json(const train::StepMetrics& m) {
  return {{"step", m.step}, {"train_loss", m.train_loss}, {"rate_factor", m.rate_factor},
          {"elapsed_seconds", m.elapsed_seconds}, {"tokens_per_second", m.tokens_per_second}};
}

Json to_json(const train::TrainResult& r) {
  Json facts = {{"steps", r.steps}, {"train_loss", r.train_loss}, {"training_seconds", r.seconds},
                {"last_step_started_at", r.last_step_started_at}, {"step_ms_median", r.step_ms_median},
                {"tokens_per_second", r.tokens_per_second}, {"peak_memory_bytes", r.peak_memory_bytes},
                {"swa_count", r.swa_count}};
  if (r.resumed_from_step) facts["resumed_from_step"] = *r.resumed_from_step;
  return facts;
}

data::LoaderSettings loader_settings(const Session& session, const data::DataSet& data,
                                     const train::TrainSettings& settings) {
  data::LoaderSettings loader;
  loader.shards = data.train;
  loader.sequence = settings.sequence;
  loader.tokens_per_step = settings.tokens_per_step;
  loader.micro_batches = settings.micro_batches;
  loader.vocabulary = data.vocabulary;
  loader.device = session.device();
  loader.rank = session.rank();
  loader.world = session.world();
  loader.order = data::parse_order(session.section("data").at("order").get<std::string>());
  loader.seed = session.seed();
  return loader;
}

// Every rank keeps weights, averages and optimizers of its own, and only gradients are shared: a difference would mean that
// some operation gave different bits on equal inputs, and scores would be of weights that nobody trained.
void check_same_weights(const Session& session, const NamedTensors& weights) {
  if (session.world() == 1) return;
  std::vector<at::Tensor> sums;
  for (const auto& [name, weight] : weights) sums.push_back(weight.sum(at::kDouble));
  const at::Tensor own = at::stack(sums).cpu();
  at::Tensor leader = own.clone();
  session.communicator().broadcast(leader, 0);
  for (std::int64_t i = 0; i < own.numel(); ++i)
    CADDIE_CHECK(own[i].item<double>() == leader[i].item<double>(), ErrorKind::failed, "after training the weights of rank ", session.rank(),
                 " are not those of rank 0; the first that differs: ", weights[static_cast<std::size_t>(i)].first);
}

train::TrainResult train_with(const Session& session, const data::DataSet& data, const fs::path& checkpoints,
                              const std::string& key, std::function<void(const train::StepMetrics&)> on_step,
                              std::function<void(std::int64_t)> on_resume) {
  const auto settings = train::TrainSettings::from_json(session.resolved());
  const auto model = session.create_model(data.vocabulary, session.device());
  Random random(session.seed(), "initial weights");
  model->initialize(random);
  data::Loader loader(loader_settings(session, data, settings));
  const Json& entries = session.section("optimizers");
  train::TrainJob job{*model, loader, session.communicator(), session.services(),
                      [&](std::size_t entry, const OptimizerContext& context) {
                        return session.catalogue().create_optimizer(entries.at(entry), context);
                      },
                      checkpoints, key, std::move(on_step), std::move(on_resume), {}};
  const train::TrainResult result = train::train(settings, job);
  check_same_weights(session, result.last_weights);
  return result;
}

}  // namespace

void train_along(const Session& session, const data::DataSet& data, const fs::path& checkpoints, const std::string& key) {
  if (!session.section("train").at("weights").is_null()) return;  // rank 0 takes the file
  train_with(session, data, checkpoints, key, {}, {});
}

void fetch_data(const Session& session, bool offline) {
  const auto settings = data::DataSettings::from_json(session.section("data"));
  if (settings.dataset) data::ensure_dataset(*settings.dataset, offline);
}

Json compute_data(const Session& session, const fs::path& folder) {
  const data::DataSet data = data::prepare_data(data::DataSettings::from_json(session.section("data")), folder,
                                                session.services().threads());
  Json baselines = Json::array();
  for (const data::Baseline& b : data.baselines)
    baselines.push_back({{"name", b.name}, {"bits_per_byte", b.bits_per_byte}});
  return {{"identity", data.identity}, {"baselines", baselines}};
}

namespace {
// Weights that were trained elsewhere: checked, and kept as if they had been trained here.
Json take_weights(const Session& session, const data::DataSet& data, const fs::path& file, const fs::path& folder) {
  const auto model = session.create_model(data.vocabulary, at::kCPU);
  const artifact::NamedWeights weights = read_model_weights(*model, file);
  write_safetensors(folder / "weights.safetensors", weights);
  return {{"steps", 0}, {"imported_from", file.string()}, {"weights_hash", artifact::weights_hash(weights)}};
}
}  // namespace

Json compute_train(const Session& session, const data::DataSet& data, const fs::path& folder, const RunFolder& run,
                   const std::string& key) {
  if (const Json& file = session.section("train").at("weights"); !file.is_null())
    return take_weights(session, data, file.get<std::string>(), folder);
  // Without a checkpoint to go on from, metrics of an attempt before are of no use.
  if (!fs::exists(run.checkpoints() / "latest.json")) keep_metrics_up_to(run.metrics(), 0);
  const train::TrainResult result = train_with(
      session, data, run.checkpoints(), key,
      [&](const train::StepMetrics& metrics) { run.add_metrics(to_json(metrics)); },
      [&](std::int64_t steps) { keep_metrics_up_to(run.metrics(), steps); });

  write_safetensors(folder / "weights.safetensors", result.weights);
  write_safetensors(folder / "last.safetensors", result.last_weights);
  if (fs::exists(run.metrics())) fs::copy_file(run.metrics(), folder / "metrics.jsonl");
  Json outputs = to_json(result);
  outputs["weights_hash"] = artifact::weights_hash(result.weights);
  outputs["last_hash"] = artifact::weights_hash(result.last_weights);
  return outputs;
}

}  // namespace caddie::pipeline
