// Files: reading one, following `extends`, and merging maps.
#include "core/config/merge.h"
#include "core/config/text.h"

#include <algorithm>
#include <system_error>

#include "core/base/files.h"

namespace caddie::config {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxChain = 32;

// "reference.yaml" for a missing "referense.yaml" beside it.
std::string similar_file(const fs::path& file) {
  std::vector<std::string> names;
  std::error_code error;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".yaml" || it->path().extension() == ".yml")
      names.push_back(it->path().filename().string());
  std::sort(names.begin(), names.end());
  return suggest(file.filename().string(), names);
}

// Where a file's own complaints go: to the key that mentions it, or to the file as a whole.
Location blame(const Location& mentioned, const std::string& name) {
  if (mentioned.source) return mentioned;
  auto source = std::make_shared<Source>();
  source->name = name;
  return {source, 0, 0, 1};
}

}  // namespace

void set_layer(Node& node, int layer) {
  node.layer = layer;
  for (Node& item : node.items) set_layer(item, layer);
  for (Entry& entry : node.entries) set_layer(entry.value, layer);
}

void merge(Node& base, Node&& top) {
  if (!base.is_map() || !top.is_map()) {
    base = std::move(top);
    return;
  }
  base.where = top.where;
  for (Entry& entry : top.entries) {
    Entry* existing = base.find(entry.key);
    if (!existing) {
      base.entries.push_back(std::move(entry));
      continue;
    }
    // Saying the same `use` again is no change: options of the layers below stay bound to it.
    const bool same_use = entry.key == "use" && existing->value.is_scalar() && entry.value.is_scalar() &&
                          existing->value.text == entry.value.text;
    const int layer = existing->value.layer;
    existing->where = entry.where;
    merge(existing->value, std::move(entry.value));
    if (same_use) existing->value.layer = layer;
  }
}

std::optional<Document> read_document(const fs::path& file, const std::string& name, Problems& problems,
                                      const Location& mentioned) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  const Location where = blame(mentioned, name);
  if (status.type() == fs::file_type::not_found) {
    problems.add(where, concat("the manifest '", name, "' does not exist"), similar_file(file));
    return {};
  }
  if (status.type() != fs::file_type::regular) {
    const char* what = status.type() == fs::file_type::directory ? "a folder" : "not a readable file";
    problems.add(where, concat("'", name, "' is ", what, ", accepted: a manifest"));
    return {};
  }
  if (const auto bytes = fs::file_size(file, error); !error && bytes > (std::uintmax_t{1} << 20)) {
    problems.add(where, concat("'", name, "' has ", bytes, " bytes, accepted: at most 1048576"), {},
                 "is it a manifest?");
    return {};
  }
  Document document;
  try {
    document.text = read_text(file);
  } catch (const Error& failure) {
    problems.add(where, failure.message());
    return {};
  }
  auto source = std::make_shared<Source>();
  source->name = name;
  source->folder = fs::absolute(file).lexically_normal().parent_path();
  const std::size_t before = problems.size();
  document.tree = parse_yaml(document.text, source, problems);
  // A file with duplicate keys is still worth checking, one that is not YAML is not.
  if (problems.size() > before && document.tree.entries.empty()) return {};
  return document;
}

Chain load_chain(const fs::path& file, Problems& problems, const Location& named) {
  Chain chain;
  std::vector<Node> layers;  // the file first
  std::vector<fs::path> seen;
  fs::path path = file;
  Location mentioned = named;
  while (true) {
    std::error_code error;
    const fs::path identity = fs::weakly_canonical(fs::absolute(path), error);
    const std::string name = path.lexically_normal().string();
    if (std::find(seen.begin(), seen.end(), identity) != seen.end() || seen.size() >= kMaxChain) {
      std::string names;
      for (const std::string& link : chain.names) names += link + " → ";
      problems.add(mentioned, concat("'extends' goes round in a circle: ", names, name));
      chain.readable = false;
      break;
    }
    seen.push_back(identity);
    chain.names.push_back(name);
    std::optional<Document> document = read_document(path, name, problems, mentioned);
    if (!document) {
      chain.readable = false;
      break;
    }
    chain.sources.push_back(fs::absolute(path).lexically_normal());
    if (layers.empty()) chain.text = document->text;
    layers.push_back(std::move(document->tree));
    const Entry* extends = layers.back().find("extends");
    if (!extends) break;
    chain.extends = true;
    const Node& target = extends->value;
    if (!target.is_scalar() || target.text.empty()) {
      problems.add(target.where, "'extends' names one file", {}, "a path relative to this file");
      chain.readable = false;
      break;
    }
    mentioned = target.where;
    path = fs::path(target.text).is_absolute() ? fs::path(target.text) : path.parent_path() / target.text;
  }
  for (std::size_t i = layers.size(); i-- > 0;) {
    set_layer(layers[i], static_cast<int>(layers.size() - 1 - i));
    std::erase_if(layers[i].entries, [](const Entry& entry) { return entry.key == "extends"; });
    if (i + 1 == layers.size())
      chain.tree = std::move(layers[i]);
    else
      merge(chain.tree, std::move(layers[i]));
  }
  return chain;
}

}  // namespace caddie::config
