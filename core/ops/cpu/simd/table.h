// The table of this instruction set.
#pragma once

#include "core/ops/cpu/simd/elementwise.h"
#include "core/ops/cpu/simd/head.h"
#include "core/ops/cpu/simd/mlp.h"
#if defined(CADDIE_TILES)
// Specialisations for bfloat16.
#include "core/ops/cpu/simd/tile_attention_half_backward.h"
#include "core/ops/cpu/simd/tile_head.h"
#endif

namespace caddie::ops::cpu::CADDIE_ISA {
namespace {

void mlp_forward(const Common& common, const MlpForward& m) {
  common.bfloat16 ? mlp_forward_typed<Bf16>(common, m) : mlp_forward_typed<float>(common, m);
}
void mlp_backward(const Common& common, const MlpBackward& m) {
  common.bfloat16 ? mlp_backward_typed<Bf16>(common, m) : mlp_backward_typed<float>(common, m);
}
void attention_forward(const Common& common, const AttentionForward& a) {
  common.bfloat16 ? attention_forward_typed<Bf16>(common, a) : attention_forward_typed<float>(common, a);
}
void attention_backward(const Common& common, const AttentionBackward& a) {
  common.bfloat16 ? attention_backward_typed<Bf16>(common, a) : attention_backward_typed<float>(common, a);
}
void self_attention(const Common& common, const Attention& a, const void* qkv) {
  common.bfloat16 ? self_attention_typed(common, a, static_cast<const Bf16*>(qkv))
                  : self_attention_typed(common, a, static_cast<const float*>(qkv));
}
void head(const Common& common, const Head& h) {
  common.bfloat16 ? head_typed<Bf16>(common, h) : head_typed<float>(common, h);
}

}  // namespace

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
