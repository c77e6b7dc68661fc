// What this processor offers, asked once. Kernels are compiled for several instruction sets and chosen by it at run time.
#pragma once

#include "caddie/export.h"

namespace caddie::ops::cpu {

// avx512_bf16: bfloat16 products at twice the speed of float32 or more. Without it they are emulated and slow.
CADDIE_API bool has_bfloat16_products();
CADDIE_API bool has_avx2();    // with FMA
CADDIE_API bool has_avx512();  // F, BW, DQ, VL
CADDIE_API bool has_amx();     // tiles for bfloat16, and the system lets this process use them

}  // namespace caddie::ops::cpu
