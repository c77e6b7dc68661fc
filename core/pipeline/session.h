// What every stage of a run shares: the resolved manifest, the plugins, the device, and where results go. A session reads
// nothing but the manifest; stages read and write files.
#pragma once

#include <c10/core/Device.h>

#include <filesystem>
#include <memory>
#include <string>

#include "caddie/communicator.h"
#include "caddie/model.h"
#include "core/comm/group.h"
#include "core/config/manifest.h"
#include "core/host/catalogue.h"
#include "core/pipeline/cache.h"

namespace caddie::pipeline {

// The ranks that share a run. With a group, this process is one of them; without one they are only counted, for a plan.
struct SessionRanks {
  int size = 1;
  Group* group = nullptr;
};

class CADDIE_API Session {
 public:
  // Resolves device, precision and threads, and lets the ranks compare their manifests. Throws Error(environment) for a
  // device that is not there, Error(usage) if train.micro_batches cannot be dealt to the ranks or they disagree.
  Session(Manifest manifest, std::shared_ptr<const Catalogue> catalogue, SessionRanks ranks = {});
  ~Session();

  const Manifest& manifest() const { return manifest_; }
  const Json& resolved() const { return manifest_.resolved; }
  const Json& section(const char* name) const { return manifest_.resolved.at(name); }
  const Catalogue& catalogue() const { return *catalogue_; }
  Services& services() const { return *services_; }
  at::Device device() const { return device_; }
  Precision precision() const { return precision_; }
  int world() const { return ranks_.size; }
  int rank() const { return ranks_.group != nullptr ? ranks_.group->rank() : 0; }
  Group* group() const { return ranks_.group; }  // null with one rank
  Communicator& communicator() const { return *communicator_; }
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
  SessionRanks ranks_;
  at::Device device_;
  Precision precision_;
  std::unique_ptr<Communicator> communicator_;
};

CADDIE_API const char* precision_name(Precision precision);
CADDIE_API int visible_gpus();  // 0 without any, and in a build without CUDA
// "auto", "cpu", "cuda"; the GPU of the rank `local_rank` of this host. Throws Error(environment) for one that is not there.
CADDIE_API at::Device resolve_device(const std::string& wanted, int local_rank = 0);
// The log, the interrupt flag and the thread count of this process, for plugins.
CADDIE_API std::unique_ptr<Services> host_services();

}  // namespace caddie::pipeline
