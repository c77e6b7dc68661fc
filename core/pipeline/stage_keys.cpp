// What each stage depends on, all of it. A value that changes a result and is missing here is a wrong hit; a value that
// does not and is here is a miss for nothing.
#include "core/base/hash.h"
#include "core/data/source.h"
#include "core/pipeline/stages.h"

namespace caddie::pipeline {
namespace {

Json with_identity(const Session& session, PluginKind kind, const Json& section) {
  return {{"section", section}, {"plugin", session.identity(kind, section)}};
}

Json model_key(const Session& session) { return with_identity(session, PluginKind::model, session.section("model")); }

Json key_of_all(const Session& session, PluginKind kind, const Json& sections) {
  Json keys = Json::array();
  for (const Json& section : sections) keys.push_back(with_identity(session, kind, section));
  return keys;
}

}  // namespace

const std::vector<std::string>& stage_names() {
  static const std::vector<std::string> names = {"data", "train", "quantize", "compress", "evaluate", "ttt"};
  return names;
}

Json evaluate_section(const Session& session) {
  const Json& section = session.section("evaluate");
  if (!section.is_null()) return section;
  return {{"flat", nullptr}, {"sliding", nullptr}, {"tokens", "all"}, {"batch_tokens", 0}};
}

StageKey data_stage_key(const Session& session) {
  return {"data", {{"data", data::data_key(data::DataSettings::from_json(session.section("data")))},
                   {"core", session.numeric_key().at("core")}}};
}

StageKey train_stage_key(const Session& session, const Json& data_identity) {
  Json train = session.section("train");
  if (!train.at("weights").is_null())  // nothing is trained: the file is all there is
    return {"train", {{"weights", sha256_file(train.at("weights").get<std::string>())},
                      {"model", model_key(session)},
                      {"data", data_identity},
                      {"core", session.numeric_key().at("core")}}};
  Json order = session.section("data").at("order");
  if (order == "packed") order = "packed, long documents in parts";  // once they were cut off
  train.erase("weights");
  train.erase("checkpoint");  // when checkpoints are written changes no weight
  return {"train", {{"data", data_identity},
                    {"train", train},
                    {"order", order},
                    {"model", model_key(session)},
                    {"optimizers", key_of_all(session, PluginKind::optimizer, session.section("optimizers"))},
                    {"seed", session.seed()},
                    {"world", session.world()},
                    {"numeric", session.numeric_key()}}};
}

StageKey quantize_stage_key(const Session& session, const Json& data_identity, const std::string& weights_hash) {
  Json quantize = session.section("quantize");
  Json ingredients = {{"weights", weights_hash},
                      {"model", model_key(session)},
                      {"quantizers", key_of_all(session, PluginKind::quantizer, quantize.at("tensors"))},
                      {"seed", session.seed()},
                      {"numeric", session.numeric_key()}};
  if (quantize.at("calibrate").at("source") == "train") ingredients["data"] = data_identity;
  quantize.erase("tensors");
  ingredients["quantize"] = quantize;
  return {"quantize", ingredients};
}

StageKey compress_stage_key(const Session& session, const std::string& codes_hash, const Json& data_identity) {
  return {"compress", {{"codes", codes_hash},
                       {"model", session.section("model")},  // the artifact says how to build its model
                       {"tokenizer", data_identity.at("tokenizer").at("sha256")},
                       {"compressor", with_identity(session, PluginKind::compressor, session.section("compress"))},
                       {"core", session.numeric_key().at("core")}}};
}

namespace {
// What any score depends on. Swapping a lossless compressor keeps the weights' hash, and with it every score.
Json score_key(const Session& session, const Json& data_identity, const std::string& weights_hash) {
  return {{"weights", weights_hash},
          {"model", model_key(session)},
          {"data", data_identity},
          {"sequence", session.sequence()},
          {"tokens", evaluate_section(session).at("tokens")},
          {"batch_tokens", evaluate_section(session).at("batch_tokens")},
          {"numeric", session.numeric_key()}};
}
}  // namespace

std::vector<ScoreMode> score_modes(const Session& session, const Json& data_identity, const Json& train_outputs,
                                   const std::string& decoded_hash) {
  const Json& section = session.section("evaluate");
  std::vector<ScoreMode> modes;
  if (section.is_null()) return modes;
  const bool artifact = !decoded_hash.empty();
  const auto add = [&](const char* metric, const char* weights, const std::string& hash, bool sliding) {
    Json ingredients = score_key(session, data_identity, hash);
    ingredients["mode"] = sliding ? "sliding" : "flat";
    if (sliding) ingredients["sliding"] = section.at("sliding");
    modes.push_back({metric, weights, sliding, {"evaluate", ingredients}});
  };
  if (!section.at("flat").is_null()) {
    if (train_outputs.contains("last_hash")) add("last_step_bpb", "last", train_outputs.at("last_hash"), false);
    add("val_bpb", "weights", train_outputs.at("weights_hash"), false);
    if (artifact) add("roundtrip_bpb", "decoded", decoded_hash, false);
  }
  if (artifact && !section.at("sliding").is_null()) add("sliding_bpb", "decoded", decoded_hash, true);
  return modes;
}

std::string combined_key(const std::vector<ScoreMode>& modes) {
  std::string keys;
  for (const ScoreMode& mode : modes) keys += mode.key.hash();
  return sha256(keys);
}

StageKey ttt_stage_key(const Session& session, const Json& data_identity, const std::string& weights_hash) {
  Json ingredients = score_key(session, data_identity, weights_hash);
  ingredients["sliding"] = evaluate_section(session).at("sliding");
  ingredients["ttt"] = with_identity(session, PluginKind::ttt, session.section("ttt"));
  ingredients["world"] = session.world();
  ingredients["seed"] = session.seed();
  return {"ttt", ingredients};
}

}  // namespace caddie::pipeline
