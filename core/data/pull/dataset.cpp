#include "core/data/pull/dataset.h"

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/data/pull/hub.h"
#include "core/data/pull/hub_cache.h"

namespace caddie::data {
namespace fs = std::filesystem;

DatasetRequest DatasetRequest::parse(const std::string& text) {
  DatasetRequest request;
  const std::size_t mark = text.find('@');
  request.repository = text.substr(0, mark);
  if (mark != std::string::npos) request.revision = text.substr(mark + 1);
  const std::size_t slash = request.repository.find('/');
  const bool good = slash != std::string::npos && slash > 0 && slash + 1 < request.repository.size() &&
                    request.repository.find('/', slash + 1) == std::string::npos && !request.revision.empty() &&
                    text.find_first_of(" \t\n?#%\\") == std::string::npos && text.find("..") == std::string::npos;
  CADDIE_CHECK(good, ErrorKind::usage, "'", text, "' is no dataset, accepted: OWNER/NAME or OWNER/NAME@REVISION");
  return request;
}

std::string DatasetRequest::name() const {
  return revision == "main" ? repository : concat(repository, "@", revision);
}

std::string DatasetRequest::command() const {
  std::string text = "caddie data pull " + name();
  if (!variant.empty()) text += " --variant " + variant;
  if (shards) text += concat(" --shards ", *shards);
  return text;
}

std::optional<LocalDataset> find_dataset(const DatasetRequest& request, std::string* missing) {
  const Hub hub = Hub::from_environment();
  const HubCache cache(hub.cache, request.repository);
  std::string why;
  const auto commit = cache.commit(request.revision);
  const auto tree = commit ? cache.tree(*commit) : std::nullopt;
  if (!tree) {
    if (missing != nullptr) *missing = concat("nothing of it is in ", cache.folder().string());
    return std::nullopt;
  }
  Json manifest;
  if (const RemoteFile* file = manifest_file(*tree); file != nullptr && cache.has(*commit, *file))
    manifest = read_json(cache.snapshot(*commit, *file));
  const Selection chosen = select_files(*tree, manifest, request);
  std::int64_t files = 0, bytes = 0, total = 0;
  LocalDataset local;
  local.commit = *commit;
  for (const RemoteFile& file : chosen.files()) {
    ++total;
    const fs::path place = cache.snapshot(*commit, file);
    if (!file.sha256.empty()) local.sha256[place] = file.sha256;
    if (cache.has(*commit, file)) continue;
    ++files;
    bytes += file.size;
  }
  if (files > 0) {
    if (missing != nullptr) *missing = concat(files, " of its ", total, " files, ", bytes, " bytes, are missing");
    return std::nullopt;
  }
  for (const RemoteFile& file : chosen.train) local.train.push_back(cache.snapshot(*commit, file));
  for (const RemoteFile& file : chosen.validation) local.validation.push_back(cache.snapshot(*commit, file));
  local.tokenizer = cache.snapshot(*commit, chosen.tokenizer);
  return local;
}

LocalDataset local_dataset(const DatasetRequest& request) {
  std::string missing;
  if (auto found = find_dataset(request, &missing)) return *found;
  throw Error(ErrorKind::data, concat("the dataset ", request.name(), " is not on this machine: ", missing),
              concat("Get it with: ", request.command()));
}

}  // namespace caddie::data
