// Gets a dataset of token shards from the Hugging Face Hub: pinned to a commit, several files at once, each resumed and
// checked. dataset.h finds what is here already.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/data/pull/dataset.h"

namespace caddie::data {

struct PullOptions {
  int connections = 4;
  bool dry_run = false;            // say what would come, and get nothing of it
  bool offline = false;            // no request at all: what is here, or Error(data)
  std::filesystem::path link_into;  // also put the files into this folder, under their own names; empty: no
};

// {"dataset", "commit", "variant", "folder", "files", "bytes", "cached_files", "cached_bytes", "free_bytes", "train",
// "validation", "tokenizer"}; the last three are paths, and absent in a dry run. Asks the Hub what the revision is now,
// even where an older commit of it is here. Throws Error(data), Error(failed) for the disk, Error(interrupted): the
// same call goes on.
CADDIE_API Json pull_dataset(const DatasetRequest& request, const PullOptions& options);

// For a run: nothing if the dataset is here, else announces it and pulls. Throws Error(data) with the command to run if
// `offline` (or the environment) forbids it.
CADDIE_API void ensure_dataset(const DatasetRequest& request, bool offline);

}  // namespace caddie::data
