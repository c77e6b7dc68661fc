// The Hub's cache folder, in the layout that its own clients use, so that what one program pulled is there for all:
//   datasets--OWNER--NAME/refs/REVISION           the commit, 40 hexadecimal digits
//                        /trees/COMMIT.json       the repository's files at that commit, with sizes and hashes
//                        /blobs/ETAG              contents, by SHA-256 (large files) or git's SHA-1
//                        /snapshots/COMMIT/PATH   links to the blobs
// Private.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/data/pull/repository.h"

namespace caddie::data {

class HubCache {
 public:
  HubCache(const std::filesystem::path& root, const std::string& repository);
  const std::filesystem::path& folder() const { return folder_; }

  // The commit of a branch, tag or commit, if it is known here.
  std::optional<std::string> commit(const std::string& revision) const;
  void save_commit(const std::string& revision, const std::string& commit) const;
  // Files of a commit; nothing if they were never listed. Throws Error(data) for a damaged list.
  std::optional<std::vector<RemoteFile>> tree(const std::string& commit) const;
  void save_tree(const std::string& commit, const std::vector<RemoteFile>& files) const;

  std::filesystem::path snapshot(const std::string& commit, const RemoteFile& file) const;
  std::filesystem::path blob(const RemoteFile& file) const { return folder_ / "blobs" / file.etag(); }
  // Whether the snapshot has the file with its size.
  bool has(const std::string& commit, const RemoteFile& file) const;
  // Links a blob into the snapshot; copies it where links are not possible.
  void link(const std::string& commit, const RemoteFile& file) const;

 private:
  std::filesystem::path folder_;
};

bool is_commit(const std::string& text);

// Of one entry of the Hub's listing. Throws Error(data) for paths that would leave the folder and for sizes and hashes
// that are none.
RemoteFile checked_file(std::string path, std::int64_t size, std::string oid, std::string sha256);

}  // namespace caddie::data
