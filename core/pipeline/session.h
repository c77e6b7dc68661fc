// What every stage of a run shares: the resolved manifest, the plugins, the device, and where results go. A session reads
// nothing but the manifest; stages read and write files.
#pragma once

#include <c10/core/Device.h>

#include <filesystem>
#include <memory>
#include <string>

#include "caddie/model.h"
#include "core/config/manifest.h"
#include "core/host/catalogue.h"
#include "core/pipeline/cache.h"

namespace caddie::pipeline {

class CADDIE_API Session {
 public:
  // Resolves device, precision and threads. Throws Error(environment) for a device that is not there.
  Session(Manifest manifest, std::shared_ptr<const Catalogue> catalogue);
  ~Session();

  const Manifest& manifest() const { return manifest_; }
  const Json& resolved() const { return manifest_.resolved; }
  const Json& section(const char* name) const { return manifest_.resolved.at(name); }
  const Catalogue& catalogue() const { return *catalogue_; }
  Services& services() const { return *services_; }
  at::Device device() const { return device_; }
  Precision precision() const { return precision_; }
  std::uint64_t seed() const;
  std::int64_t sequence() const;
  // Pieces that the model is made for, if the manifest says so or makes the tokenizer; 0: as many as the data's.
  std::int64_t stated_vocabulary() const;

  // Parts of stage keys.
  Json identity(PluginKind kind, const Json& section) const;  // plugin, version, behaviour version, SHA-256 of the file
  Json numeric_key() const;  // core's behaviour version, device class, precision

  // A model for this manifest; on the meta device it has shapes and no memory.
  std::shared_ptr<Model> create_model(std::int64_t vocabulary, at::Device device) const;

 private:
  Manifest manifest_;
  std::shared_ptr<const Catalogue> catalogue_;
  std::unique_ptr<Services> services_;
  at::Device device_;
  Precision precision_;
};

CADDIE_API const char* precision_name(Precision precision);
// "auto", "cpu", "cuda". Throws Error(environment) for a device that is not there.
CADDIE_API at::Device resolve_device(const std::string& wanted);
// The log, the interrupt flag and the thread count of this process, for plugins.
CADDIE_API std::unique_ptr<Services> host_services();

}  // namespace caddie::pipeline
