#include "core/base/freed_memory.h"

#include <climits>  // defines __GLIBC__ where it is that
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace caddie {

KeepFreedMemory::KeepFreedMemory(bool on) : on_(on) {
#ifdef __GLIBC__
  if (!on_) return;
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}

KeepFreedMemory::~KeepFreedMemory() {
#ifdef __GLIBC__
  if (!on_) return;
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
  malloc_trim(0);
#endif
}

}  // namespace caddie
