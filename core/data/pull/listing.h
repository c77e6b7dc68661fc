// The Hub's answers about a repository: which commit a revision is, and the files of a commit. Private.
#pragma once

#include <string>
#include <vector>

#include "core/data/pull/http.h"
#include "core/data/pull/hub.h"
#include "core/data/pull/repository.h"

namespace caddie::data {

// Throws Error(data) if there is no such repository or revision, or the answer is not the Hub's.
std::string ask_commit(HttpClient& client, const Hub& hub, const DatasetRequest& request);
std::vector<RemoteFile> ask_tree(HttpClient& client, const Hub& hub, const DatasetRequest& request,
                                 const std::string& commit);
// Where a file is got from.
std::string file_url(const Hub& hub, const DatasetRequest& request, const std::string& commit, const std::string& path);

}  // namespace caddie::data
