#include "core/ops/cpu/features.h"

namespace caddie::ops::cpu {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
}
bool has_bfloat16_products() { return has_avx512() && __builtin_cpu_supports("avx512bf16") != 0; }
bool has_amx() { return __builtin_cpu_supports("amx-bf16") != 0; }
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_bfloat16_products() { return false; }
bool has_amx() { return false; }
#endif

}  // namespace caddie::ops::cpu
