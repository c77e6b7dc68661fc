// A few made-up plugins, and manifests in a folder of their own.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/config/manifest.h"
#include "core/config/schemas.h"
#include "tests/support/catch.h"

namespace caddie_test {

namespace fs = std::filesystem;
using namespace caddie;

inline constexpr OptionSpec kModel[] = {
    {"layers", OptionType::integer, "4", "1", "64", nullptr, "blocks"},
    {"width", OptionType::integer, "64", "8", "8192", nullptr, "channels"},
    {"mlp_ratio", OptionType::number, "3.5", "0.1", "16", nullptr, "hidden by width"},
    {"rope_tables", OptionType::text, "\"float32\"", nullptr, nullptr, "float32|bf16_compiled|bf16_eager", "tables"}};
inline constexpr OptionSpec kMuon[] = {
    {"learning_rate", OptionType::number, "0.025", "0", "10", nullptr, "rate"},
    {"weight_decay", OptionType::number, "0.04", "0", "1", nullptr, "decay"},
    {"newton_schulz_precision", OptionType::text, "\"bfloat16\"", nullptr, nullptr, "bfloat16|float32", "precision"},
    {"coefficients", OptionType::numbers, "[3.4445, -4.775, 2.0315]", "-10", "10", nullptr, "of the iteration"},
    {"nesterov", OptionType::boolean, "true", nullptr, nullptr, nullptr, "look ahead"}};
inline constexpr OptionSpec kAdamw[] = {{"learning_rate", OptionType::number, nullptr, "0", "10", nullptr, "rate"},
                                        {"beta1", OptionType::number, "0.9", "0", "1", nullptr, "first moment"},
                                        {"clip", OptionType::number, "null", "0", nullptr, nullptr, "of the update"}};
inline constexpr OptionSpec kGptq[] = {{"bits", OptionType::integer, "5", "2", "8", nullptr, "bits"},
                                       {"damping", OptionType::number, "0.01", "0", "1", nullptr, "damping"}};
inline constexpr OptionSpec kRound[] = {{"bits", OptionType::integer, "8", "2", "8", nullptr, "bits"}};
inline constexpr OptionSpec kBrotli[] = {{"quality", OptionType::integer, "11", "0", "11", nullptr, "effort"}};
inline constexpr OptionSpec kSgd[] = {{"epochs", OptionType::integer, "20", "1", nullptr, nullptr, "passes"},
                                      {"learning_rate", OptionType::number, "0.003", "0", nullptr, nullptr, "rate"}};

class FakeSchemas final : public ComponentSchemas {
 public:
  FakeSchemas() {
    add(PluginKind::model, "unet_gpt", kModel);
    add(PluginKind::optimizer, "muon", kMuon);
    add(PluginKind::optimizer, "adamw", kAdamw);
    add(PluginKind::quantizer, "gptq", kGptq);
    add(PluginKind::quantizer, "round", kRound);
    add(PluginKind::quantizer, "int8", {});
    add(PluginKind::compressor, "brotli", kBrotli);
    add(PluginKind::compressor, "store", {});
    add(PluginKind::ttt, "sgd", kSgd);
    add(PluginKind::ttt, "none", {});
  }
  const Component* find(PluginKind kind, std::string_view name) const override {
    const auto found = components_.find({kind, std::string(name)});
    return found == components_.end() ? nullptr : &found->second;
  }
  std::vector<std::string> names(PluginKind kind) const override {
    std::vector<std::string> result;
    for (const auto& [key, component] : components_)
      if (key.first == kind) result.push_back(key.second);
    return result;
  }

 private:
  void add(PluginKind kind, const char* name, std::span<const OptionSpec> options) {
    components_[{kind, name}] = {kind, name, "made up", 1, options.data(), options.size(), nullptr, nullptr};
  }
  std::map<std::pair<PluginKind, std::string>, Component> components_;
};

inline constexpr const char* kValid = R"(caddie: 1
name: small
seed: 7
data: {train: shards/train_*.bin, validation: [val_0.bin, /data/val_1.bin], tokenizer: bpe.model}
precision: float32
model: {use: unet_gpt, vocabulary: 1024, layers: 3}
train:
  sequence: 64
  tokens_per_step: 1024
  micro_batches: 2
  stop: {seconds: 60, steps: 100}
  fake_quant: [{match: attention, bits: 6}, {match: mlp, bits: 5}]
  average: {ema: 0.997, swa: {every: 5, below: 0.5}, blend: 0.5}
optimizers:
  - {match: matrix, use: muon, learning_rate: 0.02}
  - {match: embedding, use: adamw, learning_rate: 0.035}
  - {match: vector, use: adamw, learning_rate: 0.025}
quantize:
  calibrate: {source: self, sequences: 4}
  tensors:
    - {match: matrix, use: gptq, bits: 5, damping: 0.1}
    - {match: embedding, use: int8}
compress: {use: brotli, quality: 9}
evaluate: {flat: {}, sliding: {stride: 16}, tokens: all}
ttt: {use: sgd, chunk: 4096, epochs: 3}
budgets: {artifact_bytes: 100000, train_seconds: 60}
)";

// A folder that is removed with the test; the working directory stays where it is.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "caddie_config_XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string write(const std::string& name, const std::string& text) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
    return (path / name).string();
  }
  fs::path path;
};

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

inline Manifest load(const std::string& file, const std::vector<std::string>& overrides = {}) {
  static const FakeSchemas schemas;
  return load_manifest(file, overrides, schemas);
}

// What load() finds wrong; a manifest without a problem fails the test.
inline std::vector<Problem> problems_of(const std::string& file, const std::vector<std::string>& overrides = {}) {
  try {
    load(file, overrides);
  } catch (const ManifestError& error) {
    return error.problems();
  }
  FAIL("the manifest was accepted");
  return {};
}

inline std::vector<Problem> problems_in(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const Folder folder;
  return problems_of(folder.write("m.yaml", text), overrides);
}

inline Json resolve(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const Folder folder;
  return load(folder.write("m.yaml", text), overrides).resolved;
}

// The only problem, "line:column message".
inline std::string only(const std::vector<Problem>& problems) {
  std::string all;
  for (const Problem& p : problems) all += concat(all.empty() ? "" : "\n", p.line, ":", p.column, " ", p.message);
  return all;
}

}  // namespace caddie_test
