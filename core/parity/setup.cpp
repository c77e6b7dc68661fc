#include "core/parity/setup.h"

#include <cstdlib>
#include <memory>
#include <utility>

#include "core/base/parameter_match.h"
#include "core/data/byte_table.h"
#include "core/train/trainer.h"

namespace caddie::parity {
namespace fs = std::filesystem;
namespace {

Json model_section(const CheckRun& run) {
  const Json& config = run.config();
  const auto value = [&](const char* key) -> const Json& {
    CADDIE_CHECK(config.contains(key), ErrorKind::data, "the bundle's config lacks '", key, "'");
    return config.at(key);
  };
  if (config.contains("norm_epsilon") && config["norm_epsilon"].get<double>() != ops::kNormEpsilon)
    throw NotCovered{concat("a norm_epsilon of ", config["norm_epsilon"].dump())};
  return {{"use", "unet_gpt"},
          {"vocabulary", value("vocab")},
          {"width", value("width")},
          {"layers", value("blocks")},
          {"heads", value("heads")},
          {"kv_heads", value("kv_heads")},
          {"mlp_ratio", value("mlp_ratio")},
          {"xsa_last", value("xsa_last")},
          {"logit_cap", value("logit_softcap")},
          {"rope_base", value("rope_base")},
          {"query_gain", value("query_gain_init")}};
}

void check_parameters(const CheckRun& run, Model& model) {
  const auto& own = model.parameters();
  std::vector<ParameterSpec> wanted = run.bundle().parameters();
  std::erase_if(wanted, [](const ParameterSpec& parameter) { return parameter.empty(); });
  CADDIE_CHECK(own.size() == wanted.size(), ErrorKind::data, "the model of this config has ", own.size(),
               " parameters, the bundle lists ", wanted.size());
  for (const ParameterSpec& parameter : wanted) {
    bool found = false;
    for (const Parameter& candidate : own)
      found =
          found || (candidate.name == parameter.name && candidate.tensor.sizes() == at::IntArrayRef(parameter.shape) &&
                    role_name(candidate.role) == parameter.role);
    CADDIE_CHECK(found, ErrorKind::data, "the model of this config has no parameter ", parameter.name, " ",
                 at::IntArrayRef(parameter.shape), " of role ", parameter.role);
  }
}

Json fake_quant_rules(const CheckRun& run) {
  Json rules = Json::array();
  CADDIE_CHECK(run.config().contains("fake_quant_bits"), ErrorKind::data,
               "the bundle's config lacks 'fake_quant_bits'");
  for (const auto& [group, bits] : run.config()["fake_quant_bits"].items())
    if (!bits.is_null()) rules.push_back({{"match", group}, {"bits", bits}});
  return rules;
}

}  // namespace

std::shared_ptr<Model> make_model(const CheckRun& run, const NamedTensors& parameters, std::int64_t max_sequence) {
  const auto vocabulary = run.get<std::int64_t>(run.config(), "vocab");
  auto model = run.catalogue().create_model(
      model_section(run), ModelContext{&run.services(), at::kCPU, Precision::float32, vocabulary, max_sequence});
  check_parameters(run, *model);
  artifact::load_weights(*model, parameters);
  return model;
}

std::shared_ptr<Model> make_model(const CheckRun& run, std::int64_t max_sequence) {
  return make_model(run, run.parameters(), max_sequence);
}

void fake_quantize(const CheckRun& run, Model& model) {
  std::vector<train::FakeQuant> rules;
  for (const Json& rule : fake_quant_rules(run)) rules.push_back({rule["match"], rule["bits"]});
  model.set_fake_quant(train::expand_fake_quant(rules, model.parameters()));
  model.prepare(/*training=*/true);
}

Json training_manifest(const CheckRun& run, const Json& settings, const TrainShape& shape) {
  const Json adamw = run.get<Json>(settings, "adamw"), muon = run.get<Json>(settings, "muon");
  const auto adamw_of = [&](const char* match, const char* rate) {
    Json entry = adamw;
    entry.update({{"match", match}, {"use", "adamw"}, {"learning_rate", run.get<double>(settings, rate)}});
    return entry;
  };
  Json matrices = {{"match", "matrix"},
                   {"use", "muon"},
                   {"learning_rate", run.get<double>(muon, "rate")},
                   {"momentum_start", run.get<double>(muon, "momentum_first")},
                   {"momentum", run.get<double>(muon, "momentum_last")},
                   {"momentum_warmup_steps", run.get<std::int64_t>(muon, "momentum_steps")},
                   {"newton_schulz_steps", run.get<std::int64_t>(muon, "newton_schulz_steps")},
                   {"newton_schulz_precision", run.get<std::string>(settings, "newton_schulz")},
                   {"nesterov", run.get<bool>(muon, "nesterov")},
                   {"weight_decay", run.get<double>(muon, "weight_decay")}};
  if (muon.contains("coefficients")) matrices["newton_schulz_coefficients"] = muon["coefficients"];
  const Json clip = settings.value("gradient_clip", Json());
  const Json every = run.get<Json>(settings, "swa_every");
  Json average = {{"ema", run.get<Json>(settings, "ema")}, {"swa", nullptr}};
  if (!every.is_null()) average["swa"] = {{"every", every}, {"below", run.get<double>(settings, "swa_below")}};
  if (settings.contains("blend")) average["blend"] = settings["blend"];
  const Json train = {{"sequence", shape.sequence},
                      {"tokens_per_step", shape.tokens_per_step},
                      {"micro_batches", shape.micro_batches},
                      {"warmup_steps", settings.value("warm_up_steps_undone", std::int64_t{0})},
                      {"stop", {{"steps", run.get<Json>(settings, "rate_factors").size()}}},
                      {"schedule", {{"by", "steps"}}},
                      {"fake_quant", run.get<bool>(settings, "fake_quant") ? fake_quant_rules(run) : Json::array()},
                      {"average", average},
                      {"gradient_clip", clip.is_null() ? Json(0) : clip}};
  return {{"train", train},
          {"optimizers",
           Json::array({matrices, adamw_of("embedding", "embedding_rate"), adamw_of("vector", "vector_rate")})}};
}

train::OptimizerFactory optimizer_factory(const CheckRun& run, const Json& manifest) {
  return [&run, entries = manifest.at("optimizers")](std::size_t entry, const OptimizerContext& context) {
    return run.catalogue().create_optimizer(entries.at(entry), context);
  };
}

eval::Text make_text(const CheckRun& run, const std::string& tokenizer, const at::Tensor& tokens) {
  const auto table = data::ByteTable::from_file(run.bundle().tokenizer(tokenizer));
  const auto targets = tokens.size(0) - 1;
  return {tokens, table.target_bytes(tokens.narrow(0, 0, targets), tokens.narrow(0, 1, targets))};
}

Json ttt_section(const CheckRun& run, const Json& settings) {
  const Json clip = run.get<Json>(settings, "clip");
  return {{"use", "sgd"},
          {"chunk", run.get<std::int64_t>(settings, "chunk")},
          {"epochs", run.get<std::int64_t>(settings, "epochs")},
          {"batch", run.get<std::int64_t>(settings, "batch")},
          {"learning_rate", run.get<double>(settings, "rate")},
          {"momentum", run.get<double>(settings, "momentum")},
          {"clip", clip.is_null() ? Json(0) : clip}};
}

artifact::QuantizerFactory quantizer_factory(const CheckRun& run) {
  return
      [&run](const Json& entry) { return run.catalogue().create_quantizer(entry, QuantizerContext{&run.services()}); };
}

int bits_of_top(std::int64_t top) {
  for (int bits = 2; bits <= 8; ++bits)
    if (top == (std::int64_t{1} << (bits - 1)) - 1) return bits;
  throw NotCovered{concat("codes from -", top, " to ", top)};
}

artifact::QuantizeSettings gptq_settings(const CheckRun& run) {
  const Json matrices = {{"match", "matrix"},
                         {"use", "gptq"},
                         {"bits", bits_of_top(run.setting<std::int64_t>("top"))},
                         {"block", run.settings().value("block", std::int64_t{128})}};
  return artifact::QuantizeSettings::from_json(
      {{"keep_float_elements", run.setting<std::int64_t>("keep_float_elements")},
       {"requantize", true},
       {"tensors", Json::array({matrices, {{"match", "embedding"}, {"use", "round"}, {"bits", 8}}})}});
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "caddie-parity-XXXXXX").string();
  CADDIE_CHECK(::mkdtemp(name.data()) != nullptr, ErrorKind::failed, "no temporary folder can be made in ",
               fs::temp_directory_path().string());
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace caddie::parity
