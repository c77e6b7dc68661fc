#include "core/comm/solo.h"

#include "caddie/error.h"

namespace caddie {

SoloCommunicator::~SoloCommunicator() = default;

void SoloCommunicator::broadcast(at::Tensor&, int root) {
  CADDIE_CHECK(root == 0, ErrorKind::failed, "rank ", root, " is to broadcast, the run has one rank");
}

}  // namespace caddie
