// Where jobs run: CPU cores or GPUs, leased with locks in a folder that all sweeps of a user on a machine share. A
// lease passes to the job's process and ends with it, also when the runner dies.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "registry/sweep/lock.h"

namespace caddie::registry {

struct SlotSettings {
  std::filesystem::path folder;   // empty: default_slot_folder()
  int cores = 0;                  // 0: those that this process may use
  int threads = 1;                // cores a job on a CPU
  std::vector<std::string> gpus;  // UUIDs
  int gpus_per_job = 1;
};

// $CADDIE_SLOTS, else <temporary folder>/caddie-<user id>/slots.
CADDIE_API std::filesystem::path default_slot_folder();
// Cores that this process may use.
CADDIE_API int usable_cores();
// UUIDs of the GPUs that nvidia-smi tells, narrowed by CUDA_VISIBLE_DEVICES; none without nvidia-smi.
CADDIE_API std::vector<std::string> visible_gpus();

class CADDIE_API Slots {
 public:
  struct Lease {
    std::vector<FileLock> locks;
    std::vector<std::string> gpus;
  };
  explicit Slots(SlotSettings settings);
  // Nothing if too little is free now. An exclusive lease holds the machine against all others.
  std::optional<Lease> try_lease(bool gpu, bool exclusive) const;
  const SlotSettings& settings() const { return settings_; }

 private:
  SlotSettings settings_;
};

}  // namespace caddie::registry
