#include "core/ops/cpu/scratch.h"

#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace caddie::ops::cpu {
namespace {

constexpr std::size_t kAlignment = 64, kHuge = std::size_t{2} << 20;

void* allocate(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHuge ? kHuge : kAlignment;
  void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (block == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (bytes >= kHuge) madvise(block, bytes, MADV_HUGEPAGE);  // advice only
#endif
  return block;
}

struct Block {
  void* data = nullptr;
  std::size_t size = 0;
  ~Block() { std::free(data); }
};

// Blocks by size. A model asks for the same few sizes every step.
class Pool {
 public:
  void* take(std::size_t bytes) {
    {
      const std::scoped_lock lock(mutex_);
      auto& free = free_[bytes];
      if (!free.empty()) {
        void* block = free.back();
        free.pop_back();
        held_ -= bytes;
        return block;
      }
    }
    return allocate(bytes);
  }

  void give(void* block, std::size_t bytes) noexcept {
    try {
      const std::scoped_lock lock(mutex_);
      if (held_ + bytes <= kLimit) {
        free_[bytes].push_back(block);
        held_ += bytes;
        return;
      }
    } catch (...) {
    }
    std::free(block);
  }

 private:
  static constexpr std::size_t kLimit = std::size_t{4} << 30;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  std::size_t held_ = 0;
};

Pool& pool() {
  static auto* const instance = new Pool;  // outlives every tensor
  return *instance;
}

}  // namespace

void* thread_scratch(int slot, std::int64_t bytes) {
  thread_local Block blocks[2];
  Block& block = blocks[slot];
  const auto wanted = static_cast<std::size_t>(bytes);
  if (block.size < wanted) {
    std::free(block.data);
    block.data = nullptr;
    block.size = 0;
    block.data = allocate(wanted);
    block.size = wanted;
  }
  return block.data;
}

at::Tensor pooled(at::IntArrayRef sizes, at::ScalarType type) {
  std::size_t bytes = c10::elementSize(type);
  for (const auto size : sizes) bytes *= static_cast<std::size_t>(size);
  constexpr std::size_t kSmall = 4096;
  bytes = (bytes + kSmall - 1) / kSmall * kSmall;
  if (bytes == 0) bytes = kSmall;
  void* data = pool().take(bytes);
  return at::from_blob(data, sizes, [bytes](void* block) { pool().give(block, bytes); },
                       at::TensorOptions().dtype(type));
}

}  // namespace caddie::ops::cpu
