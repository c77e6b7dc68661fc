// The kernels compiled for one instruction set; isa.cmake gives this file its flags.
#define CADDIE_ISA amx
#define CADDIE_ISA_NAME "amx"
#define CADDIE_LANES 16
#if defined(__AMX_BF16__)
#define CADDIE_TILES
#include "core/ops/cpu/simd/table.h"
#endif
