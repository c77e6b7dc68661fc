// The plugins that this process can use: found in folders, checked, opened on demand, never closed again. The host
// pulls constant descriptors out of the libraries; nothing registers itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/compressor.h"
#include "caddie/model.h"
#include "caddie/optimizer.h"
#include "caddie/quantizer.h"
#include "caddie/ttt.h"
#include "core/base/json.h"
#include "core/config/schemas.h"

namespace caddie {

// Where a component comes from, for records and for stage keys.
struct Provenance {
  std::string plugin;   // "muon", the plugin that holds the component
  std::string file;     // absolute, links resolved
  std::string sha256;   // of the file
  std::string version;  // of the plugin, as its author writes it
  std::uint32_t behaviour_version = 0;
  std::string abi;      // the tag in the file
};
CADDIE_API Json to_json(const Provenance& provenance);

// A file that looks like a plugin and cannot be used, with the reason.
struct PluginProblem {
  std::string file;
  std::string reason;
  std::string hint;  // what to do next; may be empty
};

class CADDIE_API Catalogue final : public ComponentSchemas {
 public:
  // Looks for libcaddie_*.so in these folders, in this order. Nothing is opened yet; a folder that does not exist is
  // noted and passed over.
  explicit Catalogue(std::vector<std::filesystem::path> folders);
  // The usual folders: `plugin_dirs` (--plugin-dir), those of $CADDIE_PLUGIN_PATH (separated by colons), and
  // <folder of the executable>/../lib/caddie.
  static std::vector<std::filesystem::path> search_folders(const std::vector<std::string>& plugin_dirs);
  ~Catalogue() override;

  // Opens every plugin in a forked child first; those that end it are refused without being opened here. For listings;
  // call it early, while the process has one thread.
  void probe() const;

  // Null if no plugin has it. Throws Error(environment) if a plugin file of that name exists and was refused, or if two
  // plugins have the component. Opens libcaddie_<name>.so first, and all others only if that one does not have it.
  const Component* find(PluginKind kind, std::string_view name) const override;
  // All names of a kind, sorted. Opens every plugin.
  std::vector<std::string> names(PluginKind kind) const override;

  // As find(), but unknown names throw Error(usage) with the nearest name, the folders and the files refused.
  const Component& require(PluginKind kind, std::string_view name) const;
  Provenance provenance(PluginKind kind, std::string_view name) const;
  // Kinds that have a component of this name. Opens every plugin.
  std::vector<PluginKind> kinds_of(std::string_view name) const;
  // Files that were refused, those with a duplicate among them. Opens every plugin.
  std::vector<PluginProblem> problems() const;
  const std::vector<std::filesystem::path>& folders() const;
  // The folders and what was wrong with each refused file, as text for an error's hint.
  std::string searched() const override;

  // `section` is a resolved section of a manifest: `use` and options with their defaults filled in; other keys are
  // the framework's and are passed over. Errors carry the context "optimizer muon".
  std::shared_ptr<Model> create_model(const Json& section, const ModelContext& context) const;
  std::shared_ptr<Optimizer> create_optimizer(const Json& section, const OptimizerContext& context) const;
  std::shared_ptr<Quantizer> create_quantizer(const Json& section, const QuantizerContext& context) const;
  std::shared_ptr<Compressor> create_compressor(const Json& section, const CompressorContext& context) const;
  std::shared_ptr<TttStrategy> create_ttt(const Json& section, const TttContext& context) const;

 private:
  template <class Interface>
  std::shared_ptr<Interface> create(PluginKind kind, const Json& section, const void* context) const;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "optimizer", "ttt", ...; the inverse throws Error(usage) naming the kinds.
CADDIE_API std::string_view kind_name(PluginKind kind);
CADDIE_API PluginKind kind_from_name(std::string_view name);

}  // namespace caddie
