#include "core/pipeline/walk.h"

#include "caddie/error.h"
#include "core/base/hash.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;

Walk::Walk(const fs::path& cache) : cache_(cache.empty() ? StageCache::default_root() : cache) {}

// The entry, if the key is known and cached. A key that holds a token in place of a hash is itself a token.
const CacheEntry* Walk::look(const StageKey& key, bool known, const char* what, Steps& steps) {
  Need need{key.stage, what, {}, key.hash(), false, 0};
  const CacheEntry* entry = nullptr;
  if (known) {
    need.key = need.token;
    auto found = found_.find(need.key);
    if (found == found_.end()) found = found_.emplace(need.key, cache_.find(key)).first;
    if (found->second) entry = &*found->second;
    if (entry) need.seconds = entry->seconds;
    need.cached = entry != nullptr;
  }
  steps.needs.push_back(std::move(need));
  return entry;
}

StageKey Walk::data_key(const Session& session, Steps& steps) {
  const std::string section = canonical(session.section("data"));
  if (const auto known = data_keys_.find(section); known != data_keys_.end()) return known->second;
  try {
    return data_keys_.emplace(section, data_stage_key(session)).first->second;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::data) throw;
    steps.missing = error.what();
    return {"data", {{"missing", session.section("data")}}};
  }
}

Walk::Steps Walk::follow(const Session& session) {
  Steps steps;
  steps.identity = Json::object();
  const auto pending = [&] { return "pending " + steps.needs.back().token; };
  const StageKey first = data_key(session, steps);
  const CacheEntry* data = look(first, steps.missing.empty(), "data", steps);
  if (data) steps.identity = data->outputs.at("identity");
  const Json identity = data ? steps.identity : Json{{"pending", pending()}, {"tokenizer", {{"sha256", pending()}}}};

  const CacheEntry* train = look(train_stage_key(session, identity), data != nullptr, "train", steps);
  if (train) steps.outputs = train->outputs;
  const Json trained = train ? train->outputs
                             : Json{{"weights_hash", pending()}, {"last_hash", pending() + " last"}};

  const CacheEntry* codes = nullptr;
  std::string decoded;
  const bool artifact = !session.section("quantize").is_null() && !session.section("compress").is_null();
  if (artifact) {
    const StageKey key = quantize_stage_key(session, identity, trained.at("weights_hash"));
    codes = look(key, train != nullptr, "quantize", steps);
    decoded = codes ? codes->outputs.at("decoded_hash").get<std::string>() : pending() + " decoded";
    const std::string hash = codes ? codes->outputs.at("codes_hash").get<std::string>() : pending();
    look(compress_stage_key(session, hash, identity), codes != nullptr, "compress", steps);
  }
  const auto modes = score_modes(session, identity, trained, decoded);
  for (const ScoreMode& mode : modes) {
    const bool known = std::string_view(mode.weights) == "decoded" ? codes != nullptr : train != nullptr;
    look(mode.key, known, mode.metric, steps);
  }
  if (train && (codes || !artifact)) steps.evaluate_key = combined_key(modes);
  if (artifact && !session.section("ttt").is_null())
    look(ttt_stage_key(session, identity, decoded), codes != nullptr, "ttt", steps);
  return steps;
}

}  // namespace caddie::pipeline
