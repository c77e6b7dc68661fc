// The kernels compiled for one instruction set; isa.cmake gives this file its flags.
#define CADDIE_ISA avx512_bf16
#define CADDIE_ISA_NAME "avx512_bf16"
#define CADDIE_LANES 16
#if defined(__AVX512BF16__)
#include "core/ops/cpu/simd/table.h"
#endif
