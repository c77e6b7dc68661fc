// Training frees and takes the same blocks again in every step. While such an object lives, the C library keeps freed blocks
// (up to 32 MiB each) in place of giving them back to the system, which would clear their pages again: 2 to 5 % of a small
// step. Not for work whose blocks grow from call to call: freed ones would fit nothing. Does nothing without glibc.
#pragma once

#include "caddie/export.h"

namespace caddie {

class CADDIE_API KeepFreedMemory {
 public:
  explicit KeepFreedMemory(bool on);
  ~KeepFreedMemory();  // gives back what is free
  KeepFreedMemory(const KeepFreedMemory&) = delete;
  KeepFreedMemory& operator=(const KeepFreedMemory&) = delete;

 private:
  bool on_;
};

}  // namespace caddie
