// The table of this instruction set.
#pragma once

#include "core/ops/cpu/simd/elementwise.h"
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
    self_attention,
    rows,
    scaled_add_backward,
    embed,
    embed_backward,
    rotate,
    attend_cached,
    exclude,
    fake_quantize,
};

}  // namespace caddie::ops::cpu::CADDIE_ISA
