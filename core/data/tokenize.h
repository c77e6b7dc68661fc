// Text to token shards: parallel, streaming, the same bytes on any number of threads, and restartable. A document
// becomes bos and its pieces. The sidecar dataset.json holds the identity: documents, tokens, bytes, SHA-256 of every
// shard and of the normalized validation text, whose bytes are certified: counted apart from the tokens, and equal to
// the byte table's sum over them. Reference section 1.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/data/pull/dataset.h"
#include "core/data/text_reader.h"
#include "core/data/tokenizer.h"

namespace caddie::data {

inline constexpr char kSidecar[] = "dataset.json";
inline constexpr char kProgressFile[] = "tokenize.progress.json";  // of an attempt that is not finished

struct TokenizeSettings {
  std::filesystem::path output;  // the folder
  std::string prefix;            // of the shards' names: PREFIXtrain_000000.bin, PREFIXval_000000.bin
  std::int64_t shard_tokens = 100'000'000;
  int threads = 1;
  std::int64_t batch_bytes = 1 << 20;     // text that a thread gets at once; the result does not depend on it
  bool keep_text = false;                 // also write training.txt and validation.txt: normalized, a document a line
  std::int64_t validation_documents = 0;  // the first N documents are validation; or
  double validation_share = 0;            // those whose SHA-256, as a fraction of 1, is below it
  ReaderSettings reader;
};

// Documents with their part. `fraction` is the progress, if it is known.
struct DocumentFeed {
  std::function<bool(std::string& text, bool& validation)> next;
  std::function<double()> fraction;
  std::function<Json()> counts;  // what was passed over, for the sidecar; may be absent
};

// Whether a share of documents takes this one as validation.
CADDIE_API bool held_out(std::string_view document, double share);

// Writes shards and sidecar of the feed into settings.output, and returns the sidecar. `identity` names the source and
// is kept in the sidecar: an interrupted attempt is continued if it and the settings are the same, a finished one
// returned. The feed must give the same documents every time.
CADDIE_API Json tokenize_feed(const DocumentFeed& feed, const Tokenizer& tokenizer, const TokenizeSettings& settings,
                              const Json& identity);

// The same from files, with the tokenizer's model copied into the folder as tokenizer.model.
CADDIE_API Json tokenize_files(const std::vector<std::filesystem::path>& inputs, const std::filesystem::path& tokenizer,
                               const TokenizeSettings& settings);

// Shards and tokenizer of a dataset that was pulled: their hashes as the Hub promises them, headers, ids, bytes. Returns
// what was checked, or throws Error(data).
CADDIE_API Json verify_pulled(const DatasetRequest& request, int threads);

// Checks a folder with a sidecar: every shard's header, count, hash and ids, the byte table's sums and the tokenizer.
// Returns what was checked, or throws Error(data) with the first thing that is wrong.
CADDIE_API Json verify_dataset(const std::filesystem::path& folder);

}  // namespace caddie::data
