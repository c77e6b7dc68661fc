#include "core/pipeline/weights_files.h"

#include <map>
#include <vector>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/base/safetensors.h"
#include "core/pipeline/run_folder.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kShown = 4;  // names of each fault

std::string shape_text(at::IntArrayRef sizes) {
  std::string text;
  for (const auto size : sizes) text += concat(text.empty() ? "" : "x", size);
  return text.empty() ? "a scalar" : text;
}

// Faults by kind, with the first names of each.
class Faults {
 public:
  void add(const std::string& kind, const std::string& name) {
    auto& [count, names] = kinds_[kind];
    if (++count <= kShown) names += (count > 1 ? ", " : "") + name;
  }
  bool any() const { return !kinds_.empty(); }
  std::string text() const {
    std::string all;
    for (const auto& [kind, found] : kinds_)
      all += concat(all.empty() ? "" : "; ", kind, " (", found.first, "): ", found.second,
                    found.first > kShown ? ", ..." : "");
    return all;
  }

 private:
  std::map<std::string, std::pair<std::size_t, std::string>> kinds_;
};

bool is_key(const std::string& text) {
  return text.size() >= 8 && text.size() <= 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The one entry of the train stage whose key begins so, or nothing.
fs::path entry_of_key(const fs::path& root, const std::string& key) {
  std::vector<fs::path> found;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(root / "train" / key.substr(0, 2), code))
    if (item.path().filename().string().starts_with(key)) found.push_back(item.path());
  CADDIE_CHECK(found.size() < 2, ErrorKind::usage, "'", key, "' is the beginning of ", found.size(),
               " keys of train stages; write more of it");
  return found.empty() ? fs::path() : found[0];
}

}  // namespace

artifact::NamedWeights read_model_weights(Model& model, const fs::path& file) {
  CADDIE_CHECK(fs::exists(file), ErrorKind::data, "there is no file ", file.string(), " with weights");
  const SafetensorsReader reader(file);
  Faults faults;
  artifact::NamedWeights weights;
  for (const auto& parameter : model.parameters()) {
    if (!reader.has(parameter.name)) {
      faults.add("missing", parameter.name);
      continue;
    }
    const auto& shape = reader.shape(parameter.name);
    if (parameter.tensor.sizes() != at::IntArrayRef(shape)) {
      faults.add("of another shape", concat(parameter.name, " is ", shape_text(shape), ", the model's is ",
                                            shape_text(parameter.tensor.sizes())));
      continue;
    }
    if (!at::isFloatingType(reader.type(parameter.name))) {
      faults.add("no floating-point numbers", concat(parameter.name, " is ", at::toString(reader.type(parameter.name))));
      continue;
    }
    const at::Tensor value = reader.tensor(parameter.name).to(at::kFloat);
    if (!value.isfinite().all().item<bool>()) faults.add("not finite as float32", parameter.name);
    weights.emplace_back(parameter.name, value);
  }
  std::map<std::string, bool> known;
  for (const auto& parameter : model.parameters()) known[parameter.name] = true;
  for (const auto& name : reader.names())
    if (!known.contains(name)) faults.add("unknown to the model", name);
  if (faults.any())
    throw Error(ErrorKind::data, concat("the weights in ", file.string(), " are not those of the model: ", faults.text()),
                "The manifest's model section must be the one that they were made for; names and shapes are those that "
                "`caddie weights export` writes.");
  return weights;
}

TrainedWeights find_trained_weights(const fs::path& runs, const fs::path& cache, const std::string& run_or_key) {
  const fs::path root = cache.empty() ? StageCache::default_root() : fs::absolute(cache);
  std::string key = run_or_key;
  fs::path folder = is_key(run_or_key) ? entry_of_key(root, run_or_key) : fs::path();
  if (folder.empty()) {
    const RunFolder run = RunFolder::open(runs, run_or_key);
    const fs::path stage = run.path() / "stages" / "train.json";
    CADDIE_CHECK(fs::exists(stage), ErrorKind::data, "the run '", run.id(), "' has not finished its training");
    key = read_json(stage).at("key").get<std::string>();
    folder = entry_of_key(root, key);
  }
  if (folder.empty() || !fs::exists(folder / "weights.safetensors"))
    throw Error(ErrorKind::data, concat("the weights of '", run_or_key, "' are no longer in the cache ", root.string()),
                "Run its manifest again, or name the cache with --cache DIR.");
  const Json entry = read_json(folder / "entry.json");
  return {folder, entry.at("key"), entry.at("outputs"), entry.at("ingredients")};
}

artifact::NamedWeights export_weights(const TrainedWeights& trained, bool last, const fs::path& file) {
  const fs::path source = trained.folder / (last ? "last.safetensors" : "weights.safetensors");
  CADDIE_CHECK(fs::exists(source), ErrorKind::data, "the stage has no last weights: they were imported, not trained");
  const artifact::NamedWeights weights = read_safetensors(source);
  std::map<std::string, std::string> about{{"format", "pt"},
                                           {"caddie_weights_hash", artifact::weights_hash(weights)},
                                           {"caddie_train_key", trained.key}};
  if (trained.ingredients.contains("model"))
    about["caddie_model"] = canonical(trained.ingredients["model"].value("section", Json::object()));
  write_safetensors(file, weights, about);
  return weights;
}

}  // namespace caddie::pipeline
