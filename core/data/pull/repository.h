// What a repository on the Hub holds: its files, and which of them a request for token shards needs. Private.
//
// Known layouts: shards beside a tokenizer; datasets/NAME/*_{train,val}_*.bin with tokenizers/*.model; the same below
// one more folder with a manifest.json that says which tokenizer belongs to which shards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/data/pull/dataset.h"

namespace caddie::data {

struct RemoteFile {
  std::string path;
  std::int64_t size = 0;
  std::string oid;     // git's SHA-1 of the blob; the key of small files
  std::string sha256;  // of large files (LFS); empty: none is promised
  const std::string& etag() const { return sha256.empty() ? oid : sha256; }
};

struct Selection {
  std::string variant;  // folder of the shards; empty: the root
  std::vector<RemoteFile> train, validation;
  RemoteFile tokenizer;
  std::vector<RemoteFile> files() const;
};

// The repository's manifest.json (the one nearest to the root), or null.
const RemoteFile* manifest_file(const std::vector<RemoteFile>& tree);

// `manifest` is that file's content, or null. Throws Error(data) if the repository has no shards, several sets of which
// none was chosen, fewer shards than asked for, or no tokenizer that is clearly theirs.
Selection select_files(const std::vector<RemoteFile>& tree, const Json& manifest, const DatasetRequest& request);

}  // namespace caddie::data
