// Facts about the machine and the build, for a run's record and for `caddie doctor`.
#pragma once

#include <c10/core/Device.h>

#include <filesystem>
#include <string>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie {

// compiler, LibTorch, ABI tag, CPU model and features, cores, memory, GPU, git commit of the sources, threads.
CADDIE_API Json environment_facts();
// The models of the GPUs that a driver of NVIDIA's lists in this folder, each once, in order: "NVIDIA H100 80GB HBM3". Empty without.
CADDIE_API std::string gpu_models(const std::filesystem::path& drivers_list = "/proc/driver/nvidia/gpus");
// "avx512_bf16" and the like, from the CPU's own flags.
CADDIE_API bool cpu_has(const char* feature);
CADDIE_API std::int64_t total_memory_bytes();
CADDIE_API std::int64_t peak_memory_bytes();  // of this process, resident
// Of the device's allocator since it began; on a CPU that of this process.
CADDIE_API std::int64_t peak_memory_bytes(const c10::Device& device);
// The stages' behaviour version of the core: raised when outputs change; part of the keys.
inline constexpr int kCoreBehaviour = 1;
CADDIE_API const char* abi_id();

}  // namespace caddie
