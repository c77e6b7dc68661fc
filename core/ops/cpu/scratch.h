// Memory of the kernels: a block a thread that grows and stays, and blocks that outlive a call (saved activations, results)
// from a pool that keeps what it once got from the system. Fresh pages cost more than the arithmetic on them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace caddie::ops::cpu {

// At least `bytes`, aligned to 64; valid on this thread until its next call with that slot (0 or 1).
void* thread_scratch(int slot, std::int64_t bytes);

// An uninitialised CPU tensor whose memory returns to the pool.
at::Tensor pooled(at::IntArrayRef sizes, at::ScalarType type);

}  // namespace caddie::ops::cpu
