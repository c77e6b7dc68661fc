// Memory that the ranks of one host share: a slot a rank for what it gives, one for what comes out, and a barrier. It has
// no name once all have opened it, so that nothing stays behind however the ranks end.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/comm/group.h"

namespace caddie {

class CADDIE_API SharedRegion {
 public:
  // Collective. Null on every rank if the ranks are not all on one host or its /dev/shm cannot take the region.
  static std::unique_ptr<SharedRegion> open(Group& group, std::size_t slot_bytes);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  std::size_t slot_bytes() const { return slot_bytes_; }
  // There are two halves, 0 and 1: an operation that uses the other half than the one before needs no barrier at its end.
  std::byte* slot(int rank, int half) const;
  std::byte* result(int half) const { return slot(size_, half); }
  // Returns once all ranks are here. Throws what Group::wait_until throws.
  void barrier(const Group& group);

 private:
  SharedRegion(void* memory, std::size_t bytes, int rank, int size, std::size_t slot_bytes);
  struct Counter;
  Counter& counter(int rank) const;
  void* memory_;
  std::size_t bytes_, slot_bytes_;
  int rank_, size_;
};

}  // namespace caddie
