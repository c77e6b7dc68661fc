// The kernels compiled for one instruction set; isa.cmake gives this file its flags.
#define CADDIE_ISA avx2
#define CADDIE_ISA_NAME "avx2"
#define CADDIE_LANES 8
#if defined(__AVX2__)
#include "core/ops/cpu/simd/table.h"
#endif
