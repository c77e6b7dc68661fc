// Ranks with a GPU each, over NCCL through c10d's ProcessGroupNCCL. Built only where the LibTorch is a CUDA build and NCCL's
// headers are at hand (CMake: CADDIE_NCCL); elsewhere there is none, and GPU ranks fall back to the store.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "caddie/communicator.h"
#include "core/comm/group.h"

namespace caddie {

// Collective. Null if this build has no NCCL. Connects the GPUs and adds over them once, so that no step pays for it; throws
// Error if they do not reach each other. Tensors of the host's memory go from host to host (store.h), and so does barrier().
// The environment is that of nccl_environment.h: without NVLink multicast, and no watchdog but the group's: once the group has
// failed, kernels that wait for a rank that is gone are ended, and the host's next check throws what the group knows.
CADDIE_API std::unique_ptr<Communicator> make_nccl_communicator(Group& group, at::Device device);
CADDIE_API bool nccl_available();

}  // namespace caddie
