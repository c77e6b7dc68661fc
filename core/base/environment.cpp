#include "core/base/environment.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>
#include <system_error>

namespace caddie {
namespace {

// The value after "key :" of the first such line of /proc/cpuinfo or /proc/meminfo.
std::string proc_value(const std::filesystem::path& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return {};
}

}  // namespace

std::string gpu_models(const std::filesystem::path& drivers_list) {
  std::set<std::string> models;
  std::error_code missing;
  for (const auto& gpu : std::filesystem::directory_iterator(drivers_list, missing))
    if (const std::string model = proc_value(gpu.path() / "information", "Model"); !model.empty()) models.insert(model);
  std::string names;
  for (const std::string& model : models) names += (names.empty() ? "" : ", ") + model;
  return names;
}

bool cpu_has(const char* feature) {
  static const std::string flags = " " + proc_value("/proc/cpuinfo", "flags") + " ";
  return flags.find(" " + std::string(feature) + " ") != std::string::npos;
}

std::int64_t total_memory_bytes() {
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

std::int64_t peak_memory_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

std::int64_t peak_memory_bytes(const c10::Device& device) {
  if (device.is_cpu()) return peak_memory_bytes();
  const auto index = device.has_index() ? device.index() : c10::DeviceIndex(0);
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(index);
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

const char* abi_id() { return CADDIE_ABI_ID; }

Json environment_facts() {
  Json facts;
  facts["caddie"] = CADDIE_VERSION;
  facts["abi"] = CADDIE_ABI_ID;
  facts["compiler"] = "g++ " __VERSION__;
  facts["libtorch"] = CADDIE_TORCH_VERSION;
  facts["git_commit"] = CADDIE_GIT_COMMIT;
  utsname system{};
  ::uname(&system);
  facts["system"] = std::string(system.sysname) + " " + system.release + " " + system.machine;
  facts["cpu"] = proc_value("/proc/cpuinfo", "model name");
  std::string features;
  for (const char* feature : {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"})
    if (cpu_has(feature)) features += (features.empty() ? "" : " ") + std::string(feature);
  facts["cpu_features"] = features;
  facts["cores"] = ::sysconf(_SC_NPROCESSORS_ONLN);
  facts["threads"] = at::get_num_threads();
  facts["memory_bytes"] = total_memory_bytes();
  facts["cuda"] = at::hasCUDA();
  facts["gpus"] = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (const std::string models = gpu_models(); facts["gpus"] != 0 && !models.empty()) facts["gpu"] = models;
  return facts;
}

}  // namespace caddie
