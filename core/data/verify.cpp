// Datasets against what was promised of them: by the sidecar that caddie data tokenize wrote, or by the Hub's listing.
#include <algorithm>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/data/byte_table.h"
#include "core/data/claim.h"
#include "core/data/file_facts.h"
#include "core/data/shards.h"
#include "core/data/tokenize.h"

namespace caddie::data {
namespace fs = std::filesystem;

Json verify_dataset(const fs::path& folder) {
  const fs::path sidecar = folder / kSidecar;
  if (!fs::exists(sidecar))
    throw Error(ErrorKind::data, concat("there is no ", kSidecar, " in ", folder.string()),
                fs::exists(folder / kProgressFile) ? "It was not finished: run the same caddie data tokenize again."
                                                   : "caddie data info FILE... looks at single shards.");
  const Json made = read_json(sidecar);
  Json checked = {{"folder", folder.string()}};
  try {
    const fs::path model = folder / "tokenizer.model";
    const ByteTable table = ByteTable::from_file(model);
    const std::string expected = made.at("tokenizer").at("sha256");
    CADDIE_CHECK(table.tokenizer_sha256() == expected, ErrorKind::data, model.string(), " has SHA-256 ",
                 table.tokenizer_sha256(), ", expected ", expected);
    for (const char* name : {"train", "validation"}) {
      std::int64_t tokens = 0, bytes = 0;
      std::uint16_t last = 0;
      for (const Json& entry : made.at(name).at("shards")) {
        throw_if_interrupted();
        const fs::path path = folder / entry.at("file").get<std::string>();
        const Shard shard(path);
        const auto count = static_cast<std::int64_t>(shard.tokens().size());
        CADDIE_CHECK(count == entry.at("tokens").get<std::int64_t>(), ErrorKind::data, path.string(), " has ", count,
                     " tokens, expected ", entry.at("tokens").dump());
        const std::string hash = sha256_file(path);
        CADDIE_CHECK(hash == entry.at("sha256").get<std::string>(), ErrorKind::data, path.string(), " has SHA-256 ",
                     hash, ", expected ", entry.at("sha256").get<std::string>());
        bytes += table.sum(shard.tokens());
        if (tokens > 0 && count > 0) bytes += table.target_bytes(last, shard.tokens().front());
        if (count > 0) last = shard.tokens().back();
        tokens += count;
      }
      CADDIE_CHECK(tokens == made.at(name).at("tokens").get<std::int64_t>() &&
                       bytes == made.at(name).at("bytes").get<std::int64_t>(),
                   ErrorKind::data, sidecar.string(), " promises ", made.at(name).at("tokens").dump(), " tokens and ",
                   made.at(name).at("bytes").dump(), " bytes of ", name, ", the shards hold ", tokens, " and ", bytes);
      checked[name] = {{"shards", made.at(name).at("shards").size()}, {"tokens", tokens}, {"bytes", bytes}};
    }
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat(sidecar.string(), " is not a dataset's sidecar: ", error.what()));
  }
  return checked;
}

Json verify_pulled(const DatasetRequest& request, int threads) {
  const LocalDataset local = local_dataset(request);
  Json checked = {{"dataset", request.repository}, {"commit", local.commit}};
  const auto check_hash = [&](const fs::path& path, const std::string& found) {
    const auto promised = local.sha256.find(path);
    CADDIE_CHECK(promised == local.sha256.end() || promised->second == found, ErrorKind::data, path.string(),
                 " has SHA-256 ", found, ", the Hub promises ", promised == local.sha256.end() ? "" : promised->second);
  };
  const ByteTable table = ByteTable::from_file(local.tokenizer);
  check_hash(local.tokenizer, table.tokenizer_sha256());
  for (const char* name : {"train", "validation"}) {
    const std::vector<fs::path>& shards = name[0] == 't' ? local.train : local.validation;
    const std::vector<ShardFacts> facts = shard_facts(shards, threads);
    std::int64_t tokens = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      check_hash(shards[i], facts[i].sha256);
      CADDIE_CHECK(facts[i].max_id < table.vocabulary(), ErrorKind::data, shards[i].string(), " holds id ",
                   facts[i].max_id, ", its tokenizer has ", table.vocabulary(), " pieces");
      tokens += facts[i].tokens;
    }
    checked[name] = {{"shards", shards.size()}, {"tokens", tokens},
                     {"bytes", tokens < 1 ? 0 : bytes_of_targets(shards, table, tokens - 1)}};
  }
  return checked;
}

}  // namespace caddie::data
