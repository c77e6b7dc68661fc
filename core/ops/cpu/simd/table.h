// The table of this instruction set.
#pragma once

#include "core/ops/cpu/simd/attention_half.h"
#include "core/ops/cpu/simd/head.h"
#include "core/ops/cpu/simd/mlp.h"

namespace caddie::ops::cpu::CADDIE_ISA {

extern const Kernels table;
const Kernels table = {
    CADDIE_ISA_NAME,
#if defined(__AVX512BF16__)
    true,
#else
    false,
#endif
    mlp_forward,
    mlp_backward,
    attention_forward,
    attention_backward,
    head,
};

}  // namespace caddie::ops::cpu::CADDIE_ISA
