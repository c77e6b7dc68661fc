// Ranks with a GPU each, over NCCL through c10d's ProcessGroupNCCL. Built only where the LibTorch is a CUDA build and NCCL's
// headers are at hand (CMake: CADDIE_NCCL); elsewhere there is none, and GPU ranks fall back to the store.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "caddie/communicator.h"
#include "core/comm/group.h"

namespace caddie {

// Collective. Null if this build has no NCCL. Sets NCCL_NVLS_ENABLE=0 unless it is set: NVLink multicast hangs or fails on
// hosts that lend out single GPUs, and gains nothing at these sizes.
CADDIE_API std::unique_ptr<Communicator> make_nccl_communicator(Group& group, at::Device device);
CADDIE_API bool nccl_available();

}  // namespace caddie
