// The kernels compiled for one instruction set; isa.cmake gives this file its flags.
#define CADDIE_ISA generic
#define CADDIE_ISA_NAME "generic"
#define CADDIE_LANES 4
#include "core/ops/cpu/simd/table.h"
