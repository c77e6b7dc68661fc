// In place of nccl.cpp where there is no NCCL.
#include "core/comm/nccl.h"

namespace caddie {

std::unique_ptr<Communicator> make_nccl_communicator(Group&, at::Device) { return nullptr; }
bool nccl_available() { return false; }

}  // namespace caddie
