#include "core/ops/cpu/features.h"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace caddie::ops::cpu {

#if defined(__x86_64__)
namespace {
// Tiles are 8 KiB of state a thread, which Linux gives to processes that ask for it, once for all their threads.
bool tiles_granted() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
}  // namespace

bool has_avx2() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}
bool has_bfloat16_products() { return has_avx512() && __builtin_cpu_supports("avx512bf16") != 0; }
bool has_amx() {
  static const bool granted = has_bfloat16_products() && __builtin_cpu_supports("amx-tile") != 0 &&
                              __builtin_cpu_supports("amx-bf16") != 0 && tiles_granted();
  return granted;
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_bfloat16_products() { return false; }
bool has_amx() { return false; }
#endif

}  // namespace caddie::ops::cpu
