#include "registry/sweep/slots.h"

#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::registry {
namespace fs = std::filesystem;

fs::path default_slot_folder() {
  if (const char* folder = std::getenv("CADDIE_SLOTS"); folder != nullptr && *folder != '\0') return folder;
  const fs::path own = fs::temp_directory_path() / concat("caddie-", ::getuid());
  ::mkdir(own.c_str(), 0700);
  struct stat info {};
  // In a folder that all may write to, the name may be somebody else's.
  if (::lstat(own.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != ::getuid())
    throw Error(ErrorKind::environment, concat(own.string(), " is not a folder of this user"),
                "Name another one for the locks of sweeps with CADDIE_SLOTS.");
  return own / "slots";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0)
    return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
  return std::max(1, CPU_COUNT(&set));
}

std::vector<std::string> visible_gpus() {
  std::vector<std::string> all;
  FILE* pipe = ::popen("nvidia-smi --query-gpu=uuid --format=csv,noheader 2>/dev/null", "r");
  if (pipe == nullptr) return all;
  char line[256];
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    std::string uuid(line);
    while (!uuid.empty() && (uuid.back() == '\n' || uuid.back() == ' ' || uuid.back() == '\r')) uuid.pop_back();
    if (uuid.starts_with("GPU-")) all.push_back(uuid);
  }
  ::pclose(pipe);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) return all;
  std::vector<std::string> some;
  std::istringstream in(visible);
  for (std::string item; std::getline(in, item, ',');) {
    const bool index = !item.empty() && item.find_first_not_of("0123456789") == std::string::npos && item.size() < 5;
    if (index && std::stoul(item) < all.size()) some.push_back(all[std::stoul(item)]);
    for (const std::string& uuid : all)
      if (!index && !item.empty() && uuid.starts_with(item)) some.push_back(uuid);
  }
  return some;
}

Slots::Slots(SlotSettings settings) : settings_(std::move(settings)) {
  if (settings_.folder.empty()) settings_.folder = default_slot_folder();
  if (settings_.cores <= 0) settings_.cores = usable_cores();
  settings_.threads = std::clamp(settings_.threads, 1, settings_.cores);
  make_directories(settings_.folder);
}

std::optional<Slots::Lease> Slots::try_lease(bool gpu, bool exclusive) const {
  Lease lease;
  auto machine = FileLock::try_take(settings_.folder / "machine.lock", !exclusive);
  if (!machine) return std::nullopt;
  lease.locks.push_back(std::move(*machine));
  const int wanted = gpu ? settings_.gpus_per_job : settings_.threads;
  int taken = 0;
  const auto take = [&](const std::string& name) {
    auto lock = FileLock::try_take(settings_.folder / (name + ".lock"));
    if (!lock) return false;
    lease.locks.push_back(std::move(*lock));
    ++taken;
    return true;
  };
  if (gpu) {
    for (const std::string& uuid : settings_.gpus)
      if (taken < wanted && take(uuid)) lease.gpus.push_back(uuid);
  } else {
    for (int core = 0; core < settings_.cores && taken < wanted; ++core) take(concat("core", core));
  }
  if (taken < wanted) return std::nullopt;
  return lease;
}

}  // namespace caddie::registry
