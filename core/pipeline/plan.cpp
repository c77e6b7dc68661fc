#include "core/pipeline/plan.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "caddie/error.h"
#include "core/artifact/predict.h"
#include "core/base/environment.h"
#include "core/base/parameter_match.h"
#include "core/comm/solo.h"
#include "core/eval/windows.h"
#include "core/pipeline/cache.h"
#include "core/pipeline/run.h"
#include "core/pipeline/speed.h"
#include "core/pipeline/stages.h"
#include "core/train/train.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

// {"stages": ...} as `plan --json` prints them, and what computing the cached ones took.
struct Stages {
  Json list = Json::array(), seconds = Json::object();

  Stages(const Session& session, const Walk::Steps& steps) {
    for (const std::string& name : stage_names()) {
      if (session.resolved().contains(name) && session.section(name.c_str()).is_null()) continue;
      std::string key = name == "evaluate" ? steps.evaluate_key : std::string();
      double took = 0;
      bool any = false, all = true;
      for (const Need& need : steps.needs) {
        if (need.stage != name) continue;
        if (name != "evaluate") key = need.key;
        any = true;
        all = all && need.cached;
        took += need.seconds;
      }
      list.push_back({{"stage", name}, {"key", key.empty() ? Json() : Json(key)}, {"cached", any && all}});
      if (any && all) seconds[name] = took;
    }
  }
};

std::int64_t optimizer_bytes(const Session& session, const std::vector<Parameter>& parameters) {
  const auto settings = train::TrainSettings::from_json(session.resolved());
  const auto assignment = assign_parameters(parameters, settings.optimizers, "optimizers");
  SoloCommunicator solo;
  std::int64_t bytes = 0;
  const Json& entries = session.section("optimizers");
  for (std::size_t entry = 0; entry < entries.size(); ++entry) {
    OptimizerContext context{&session.services(), &solo, {}};
    for (std::size_t p = 0; p < parameters.size(); ++p)
      if (assignment[p] == entry)
        context.parameters.push_back({parameters[p].name, parameters[p].tensor.detach(), parameters[p].tensor.detach()});
    if (!context.parameters.empty()) bytes += session.catalogue().create_optimizer(entries[entry], context)->state_bytes();
  }
  return bytes;
}

std::int64_t memory_bytes(const Session& session, Model& model, std::int64_t elements) {
  const auto settings = train::TrainSettings::from_json(session.resolved());
  std::int64_t copies = 2;  // weights and gradients
  if (settings.average.ema) copies += 1;
  if (settings.average.swa_every > 0) copies += 1;
  copies += settings.average.latest_count;
  std::int64_t bytes = copies * elements * 4 + optimizer_bytes(session, model.parameters());
  bytes += elements * (session.precision() == Precision::bfloat16 ? 2 : 4);  // the forward pass's copies of the weights
  return bytes + model.activation_bytes(settings.tokens_per_step / settings.micro_batches);
}

// Seconds of the stages that are not cached.
Json predict_seconds(const Session& session, double token_seconds, std::int64_t validation_tokens) {
  const auto settings = train::TrainSettings::from_json(session.resolved());
  const double step_seconds = static_cast<double>(settings.tokens_per_step) * token_seconds;
  Json seconds = Json::object();
  double train = 1e18;
  if (settings.stop_seconds) train = *settings.stop_seconds;
  if (settings.stop_steps) train = std::min(train, static_cast<double>(*settings.stop_steps) * step_seconds);
  seconds["train"] = train + static_cast<double>(settings.warmup_steps) * step_seconds;
  if (validation_tokens == 0) return seconds;

  const Json& ttt = session.section("ttt");
  if (session.section("evaluate").is_null() && ttt.is_null()) return seconds;
  const eval::Settings scores = eval::Settings::from_json(evaluate_section(session), session.sequence());
  double tokens = static_cast<double>(validation_tokens);
  if (scores.limit > 0) tokens = std::min(tokens, static_cast<double>(scores.limit));
  const double forward = token_seconds / 3;
  const double sliding = tokens * forward * static_cast<double>(scores.sequence) / static_cast<double>(scores.stride);
  if (scores.flat || scores.sliding)
    seconds["evaluate"] = (scores.flat ? 3 * tokens * forward : 0) + (scores.sliding ? sliding : 0);
  if (!ttt.is_null())
    seconds["ttt"] = sliding + tokens * token_seconds * ttt.value("epochs", 0.0);
  return seconds;
}

}  // namespace

Json plan(const Session& session, const fs::path& cache) {
  Walk walk(cache);
  return plan(session, cache, walk.follow(session));
}

Json plan(const Session& session, const fs::path& cache, const Walk::Steps& steps) {
  Json notes = Json::array();
  if (!steps.missing.empty()) notes.push_back(steps.missing);
  const Stages stages(session, steps);

  std::int64_t vocabulary = session.stated_vocabulary();
  if (vocabulary == 0) {
    try {
      const auto settings = data::located(data::DataSettings::from_json(session.section("data")));
      vocabulary = data::ByteTable::from_file(settings.tokenizer).vocabulary();
    } catch (const Error& error) {
      notes.push_back(concat(error.what(), "; model.vocabulary would tell the model's size without the tokenizer"));
    }
  }
  Json result = {{"stages", stages.list}, {"notes", notes}};
  if (vocabulary == 0) {
    result["parameters"] = nullptr;
    result["fits"] = nullptr;
    result["predicted"] = Json::object();
    return result;
  }

  const auto model = session.create_model(vocabulary, at::kMeta);
  std::int64_t elements = 0;
  for (const Parameter& parameter : model->parameters()) elements += parameter.tensor.numel();
  const auto quantizers = [&](const Json& entry) {
    return session.catalogue().create_quantizer(entry, QuantizerContext{&session.services()});
  };
  const bool has_artifact = !session.section("quantize").is_null() && !session.section("compress").is_null();
  std::int64_t bytes = 0;
  if (has_artifact) {
    const auto compressor =
        session.catalogue().create_compressor(session.section("compress"), CompressorContext{&session.services()});
    bytes = artifact::predict_artifact_bytes(model->parameters(),
                                             artifact::QuantizeSettings::from_json(session.section("quantize")),
                                             quantizers, *compressor)
                .bytes;
  }
  const std::int64_t memory = memory_bytes(session, *model, elements);

  const fs::path root = cache.empty() ? StageCache::default_root() : cache;
  const double token_seconds = model->training_flops_per_token() / expected_speed(root, session, *model);
  const auto step_tokens = session.section("train").at("tokens_per_step").get<double>();
  const std::int64_t validation_tokens =
      steps.identity.contains("validation") ? steps.identity["validation"].at("tokens").get<std::int64_t>() : 0;
  Json seconds = predict_seconds(session, token_seconds, validation_tokens);
  for (const char* stage : {"quantize", "compress"})
    if (has_artifact)
      if (const auto known = expected_stage(root, session, stage, *model)) seconds[stage] = *known;
  for (const auto& [stage, value] : stages.seconds.items()) seconds[stage] = value;
  const Json& cap = session.section("budgets").at("artifact_bytes");
  const bool bytes_fit = !has_artifact || cap.is_null() || bytes + code_bytes().value_or(0) <= cap.get<std::int64_t>();
  const bool memory_fits = session.device().is_cuda() || memory <= total_memory_bytes();
  result["parameters"] = elements;
  result["fits"] = bytes_fit && memory_fits;
  if (!bytes_fit)
    result["notes"].push_back(concat("the artifact and the source, about ", bytes + code_bytes().value_or(0),
                                     " bytes, are over budgets.artifact_bytes=", cap.get<std::int64_t>()));
  if (!memory_fits)
    result["notes"].push_back(concat("training takes about ", memory / 1000000, " MB, this machine has ",
                                     total_memory_bytes() / 1000000, "; more train.micro_batches take less"));
  result["predicted"] = {{"memory_bytes", memory}, {"seconds", seconds},
                         {"step_seconds", step_tokens * token_seconds}};
  if (has_artifact) {
    result["predicted"]["artifact_bytes"] = bytes;
    result["predicted"]["code_bytes"] = code_bytes().value_or(0);
  }
  return result;
}

}  // namespace caddie::pipeline
