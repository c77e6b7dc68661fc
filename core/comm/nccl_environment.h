// What NCCL and c10d's backend over it read from the environment when they start. Set before either is loaded: at the
// program's start, by the spawner for its ranks, and once more where a communicator is made (tests, other launchers).
#pragma once

#include <cstdlib>

namespace caddie {

struct NcclVariable {
  const char* name;
  const char* value;
  bool always;  // whatever the user has set
};

inline constexpr NcclVariable kNcclEnvironment[] = {
    // NVLink multicast: it hangs or fails on hosts that lend out single GPUs, it can take the GPUs of others on the host
    // with it, and it gains nothing at these sizes.
    {"NCCL_NVLS_ENABLE", "0", true},
    {"TORCH_SYMM_MEM_DISABLE_MULTICAST", "1", true},
    {"NVSHMEM_DISABLE_NVLS", "1", true},
    // c10d's own watchdog must not end the process: the group knows which rank failed and says so (group.h).
    {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", true},
    {"TORCH_NCCL_ENABLE_MONITORING", "0", true},
    {"TORCH_NCCL_RETHROW_CUDA_ERRORS", "0", true},
    {"TORCH_NCCL_PROPAGATE_ERROR", "0", true},
    {"TORCH_NCCL_DUMP_ON_TIMEOUT", "0", true},
    {"TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "100", true},  // it sleeps four times as long over an error, and holds a lock
    {"TORCH_NCCL_BLOCKING_WAIT", "0", true},
    {"TORCH_NCCL_TRACE_BUFFER_SIZE", "0", false},
};

inline void set_nccl_environment() {
  for (const NcclVariable& variable : kNcclEnvironment) ::setenv(variable.name, variable.value, variable.always ? 1 : 0);
}

}  // namespace caddie
