// A dataset of token shards on the Hugging Face Hub: its name, what of it is wanted, and where it lies on this machine
// once it was pulled. Nothing here touches the network; pull.h does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie::data {

struct CADDIE_API DatasetRequest {
  std::string repository;             // "OWNER/NAME"
  std::string revision = "main";      // branch, tag or commit
  std::string variant;                // which of several sets of shards ("sp1024"); empty: there is only one
  std::optional<std::int64_t> shards;  // training shards: the first N; all if it is not set

  // Of "OWNER/NAME[@REVISION]". Throws Error(usage) for something else.
  static DatasetRequest parse(const std::string& text);
  CADDIE_API std::string name() const;     // "OWNER/NAME@REVISION", without @main
  CADDIE_API std::string command() const;  // "caddie data pull OWNER/NAME ..."
};

struct LocalDataset {
  std::string commit;  // 40 hexadecimal digits
  std::vector<std::filesystem::path> train, validation;
  std::filesystem::path tokenizer;
  std::map<std::filesystem::path, std::string> sha256;  // what the Hub promises of each file, where it does
};

// Looks in the Hub's cache folder, which other programs share ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub).
// Nothing unless every file that the request needs is there with its size; `missing` then says what is not.
CADDIE_API std::optional<LocalDataset> find_dataset(const DatasetRequest& request, std::string* missing = nullptr);
// The same; throws Error(data) with the command that gets it.
CADDIE_API LocalDataset local_dataset(const DatasetRequest& request);

}  // namespace caddie::data
