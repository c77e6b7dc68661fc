#include "core/data/pull/repository.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "caddie/error.h"

namespace caddie::data {
namespace {

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}
std::string base_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// "fineweb_train_000012.bin": is it a shard of this part?
bool is_shard(const std::string& name, std::string_view part) {
  if (!name.ends_with(".bin")) return false;
  std::size_t end = name.size() - 4;
  while (end > 0 && std::isdigit(static_cast<unsigned char>(name[end - 1])) != 0) --end;
  if (end > 0 && name[end - 1] == '_') --end;
  const std::string_view stem = std::string_view(name).substr(0, end);
  return stem.ends_with(part) && (stem.size() == part.size() || stem[stem.size() - part.size() - 1] == '_');
}

struct ShardSet {
  std::vector<RemoteFile> train, validation;
};

bool is_variant(const std::string& folder, const std::string& wanted) {
  const std::string base = base_of(folder);
  return base == wanted || folder == wanted || base.ends_with("_" + wanted);
}

// Runs of digits in a name: "fineweb_4096_bpe" -> {"4096"}.
std::vector<std::string> numbers(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) continue;
    const std::size_t start = i;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0) ++i;
    out.push_back(text.substr(start, i - start));
  }
  return out;
}

const RemoteFile* find(const std::vector<RemoteFile>& tree, const std::string& path) {
  for (const RemoteFile& file : tree)
    if (file.path == path) return &file;
  return nullptr;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// By manifest.json: its dataset of this name, that one's tokenizer, and that one's file. Null: it says nothing.
const RemoteFile* tokenizer_by_manifest(const std::vector<RemoteFile>& tree, const Json& manifest,
                                        const std::string& variant) {
  const RemoteFile* where = manifest_file(tree);
  if (!manifest.is_object() || where == nullptr) return nullptr;
  const std::string root = folder_of(where->path);
  for (const Json& dataset : manifest.value("datasets", Json::array())) {
    if (!dataset.is_object() || dataset.value("name", "") != base_of(variant)) continue;
    for (const Json& tokenizer : manifest.value("tokenizers", Json::array())) {
      if (!tokenizer.is_object() || tokenizer.value("name", "") != dataset.value("tokenizer_name", "")) continue;
      const Json path = tokenizer.value("model_path", Json());
      CADDIE_CHECK(path.is_string(), ErrorKind::data, "the tokenizer of '", base_of(variant), "' is of the kind '",
                   tokenizer.value("kind", "unknown"), "', accepted: a SentencePiece model");
      return find(tree, (root.empty() ? "" : root + "/") + path.get<std::string>());
    }
  }
  return nullptr;
}

RemoteFile find_tokenizer(const std::vector<RemoteFile>& tree, const Json& manifest, const std::string& variant,
                          const std::string& repository) {
  if (const RemoteFile* file = tokenizer_by_manifest(tree, manifest, variant)) return *file;
  std::vector<RemoteFile> models;
  for (const RemoteFile& file : tree)
    if (file.path.ends_with(".model")) models.push_back(file);
  // Of several: the one beside the shards, else the one whose name has the number of the shards' folder.
  const auto keep = [&](auto&& wanted) {
    std::vector<RemoteFile> kept;
    std::copy_if(models.begin(), models.end(), std::back_inserter(kept), wanted);
    if (!kept.empty()) models = std::move(kept);
  };
  if (models.size() > 1) keep([&](const RemoteFile& file) { return folder_of(file.path) == variant; });
  const std::vector<std::string> size = numbers(base_of(variant));
  if (models.size() > 1 && !size.empty())
    keep([&](const RemoteFile& file) {
      const std::vector<std::string> in_name = numbers(base_of(file.path));
      return std::find(in_name.begin(), in_name.end(), size.back()) != in_name.end();
    });
  if (models.size() == 1) return models.front();
  std::vector<std::string> names;
  for (const RemoteFile& file : models) names.push_back(file.path);
  throw Error(ErrorKind::data,
              models.empty() ? concat("there is no tokenizer (*.model) in ", repository)
                             : concat("it is not clear which tokenizer of ", repository, " belongs to '", variant,
                                      "': ", listed(names)),
              "Pull by hand with another program, and name shards and tokenizer in data.train, data.validation and "
              "data.tokenizer.");
}

}  // namespace

std::vector<RemoteFile> Selection::files() const {
  std::vector<RemoteFile> all = {tokenizer};
  all.insert(all.end(), validation.begin(), validation.end());
  all.insert(all.end(), train.begin(), train.end());
  return all;
}

const RemoteFile* manifest_file(const std::vector<RemoteFile>& tree) {
  const RemoteFile* best = nullptr;
  for (const RemoteFile& file : tree)
    if (base_of(file.path) == "manifest.json" && (best == nullptr || file.path.size() < best->path.size())) best = &file;
  return best;
}

Selection select_files(const std::vector<RemoteFile>& tree, const Json& manifest, const DatasetRequest& request) {
  std::map<std::string, ShardSet> sets;
  for (const RemoteFile& file : tree) {
    const std::string name = base_of(file.path);
    if (is_shard(name, "train")) sets[folder_of(file.path)].train.push_back(file);
    if (is_shard(name, "val") || is_shard(name, "validation")) sets[folder_of(file.path)].validation.push_back(file);
  }
  std::erase_if(sets, [](const auto& set) { return set.second.train.empty() || set.second.validation.empty(); });
  CADDIE_CHECK(!sets.empty(), ErrorKind::data, request.name(), " holds no token shards: expected *_train_*.bin and "
               "*_val_*.bin in one folder, found ", tree.size(), " other files");
  std::vector<std::string> names;
  for (const auto& [folder, set] : sets) names.push_back(folder.empty() ? "(the root)" : base_of(folder));
  if (!request.variant.empty())
    std::erase_if(sets, [&](const auto& set) { return !is_variant(set.first, request.variant); });
  if (sets.size() != 1)
    throw Error(ErrorKind::data,
                sets.empty() ? concat(request.name(), " has no shards '", request.variant, "', it has: ", listed(names))
                             : concat(request.name(), " holds several sets of shards: ", listed(names)),
                "Choose one: data.variant in a manifest, --variant in caddie data pull.");
  Selection chosen;
  chosen.variant = sets.begin()->first;
  chosen.train = sets.begin()->second.train;
  chosen.validation = sets.begin()->second.validation;
  const auto by_path = [](const RemoteFile& a, const RemoteFile& b) { return a.path < b.path; };
  std::sort(chosen.train.begin(), chosen.train.end(), by_path);
  std::sort(chosen.validation.begin(), chosen.validation.end(), by_path);
  if (request.shards) {
    CADDIE_CHECK(*request.shards >= 1 && *request.shards <= static_cast<std::int64_t>(chosen.train.size()),
                 ErrorKind::data, *request.shards, " training shards are asked for, ", request.name(), " has ",
                 chosen.train.size());
    chosen.train.resize(static_cast<std::size_t>(*request.shards));
  }
  chosen.tokenizer = find_tokenizer(tree, manifest, chosen.variant, request.name());
  return chosen;
}

}  // namespace caddie::data
