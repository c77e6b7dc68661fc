// What fused_product.cu does with a tile of a product while it is in registers. A group of four warps holds a tile of 64 x 128:
// lane l of warp w, of the rows 16 w + l / 4 + 8 r, the columns 32 J + 8 (l % 4) + v, eight neighbours at a time (the rows of W
// lie in shared memory in the order that makes it so). kGroups: how many groups a block has, as many as registers allow.
#pragma once

#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {

inline constexpr int kTileRows = 64, kTileColumns = 128, kGroup = 128;

struct TilePlace {
  Index row, rows;      // of the tile's first row; of the whole product
  int column, columns;  // the same
  int lane, warp, thread;
  Index tile;  // its number among all

  __device__ __forceinline__ Index row_of(int r) const { return row + 16 * warp + lane / 4 + 8 * r; }
  // Of this lane's first element of a row in [rows, columns].
  __device__ __forceinline__ Index offset_of(Index row) const { return row * columns + column + 8 * (lane % 4); }
};
// Element v of the eight in part J of row r.
__device__ __forceinline__ constexpr int element(int r, int part, int v) { return 16 * part + 4 * (v / 2) + 2 * r + v % 2; }

__device__ __forceinline__ void store_row(const float (&sum)[64], int r, const TilePlace& at, Index row, bf16* out) {
  if (row >= at.rows) return;
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    float x[8];
#pragma unroll
    for (int v = 0; v < 8; ++v) x[v] = sum[element(r, part, v)];
    store<8>(out + at.offset_of(row) + 32 * part, x);
  }
}

// out = LeakyReLU(norm product, slope)^2.
struct ActivateEpilogue {
  static constexpr int kGroups = 4;
  const float* norm;
  float slope;
  bf16* out;
  uint2* signs;  // a thread's word for each of its rows, the first element's sign on top; null if not wanted

  struct Early {
    float norm[2];
  };
  // Before the product: what memory takes passes meanwhile.
  __device__ __forceinline__ void early(const TilePlace& at, Early& e) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) e.norm[r] = at.row_of(r) < at.rows ? __ldg(norm + at.row_of(r)) : 0.0f;
  }

  __device__ __forceinline__ void finish(const TilePlace& at, float (&sum)[64], const Early& e) const {
    std::uint32_t negative[2] = {};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float below = e.norm[r] * slope;
#pragma unroll
      for (int part = 0; part < 4; ++part)
#pragma unroll
        for (int v = 0; v < 8; ++v) {
          float& x = sum[element(r, part, v)];
          negative[r] = __funnelshift_l(__float_as_uint(x), negative[r], 1);
          const float leaky = x * (x > 0 ? e.norm[r] : below);
          x = leaky * leaky;
        }
      store_row(sum, r, at, at.row_of(r), out);
    }
    if (signs != nullptr) signs[at.tile * kGroup + at.thread] = uint2{negative[0], negative[1]};
  }
};

// out = product times the derivative of the activation, times norm: with what ActivateEpilogue left.
struct ActivateBackwardEpilogue {
  static constexpr int kGroups = 3;
  const float* norm;
  float slope;
  const bf16* activated;
  const uint2* signs;
  bf16* out;

  struct Early {
    uint4 activated[2][4];
    float norm[2];
    uint2 signs;
  };
  __device__ __forceinline__ void early(const TilePlace& at, Early& e) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Index row = at.row_of(r);
      const auto* from = reinterpret_cast<const uint4*>(activated + at.offset_of(row));
#pragma unroll
      for (int part = 0; part < 4; ++part) e.activated[r][part] = row < at.rows ? __ldg(from + 4 * part) : uint4{0, 0, 0, 0};
      e.norm[r] = row < at.rows ? __ldg(norm + row) : 0.0f;
    }
    e.signs = __ldg(signs + at.tile * kGroup + at.thread);
  }

  __device__ __forceinline__ void finish(const TilePlace& at, float (&sum)[64], const Early& e) const {
    const std::uint32_t negative[2] = {e.signs.x, e.signs.y};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float above = 2 * e.norm[r], below = -above * slope;
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        const std::uint32_t words[4] = {e.activated[r][part].x, e.activated[r][part].y, e.activated[r][part].z,
                                        e.activated[r][part].w};
#pragma unroll
        for (int v = 0; v < 8; ++v) {
          const float kept = __uint_as_float(v % 2 == 0 ? words[v / 2] << 16 : words[v / 2] & 0xffff0000u);
          float root;
          asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(kept));
          const bool is_negative = (negative[r] >> (31 - 8 * part - v) & 1u) != 0;
          sum[element(r, part, v)] *= (is_negative ? below : above) * root;
        }
      }
      store_row(sum, r, at, at.row_of(r), out);
    }
  }
};

// Heads of 64 channels: times norm, normed over the head, rotated, times gain, as heads_forward has it.
struct HeadsEpilogue {
  static constexpr int kGroups = 3;
  const float *norm, *cos, *sin, *gain;
  float* head_norm;  // null if not wanted
  bf16* out;
  int length, heads, kv_heads;
  float epsilon;

  struct Early {
    float norm[2], cos[2][8], sin[2][8];
  };
  __device__ __forceinline__ void early(const TilePlace& at, Early& e) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Index row = at.row_of(r) < at.rows ? at.row_of(r) : 0;
      e.norm[r] = __ldg(norm + row);
      if (at.column / 64 >= heads + kv_heads) continue;
      const int place = static_cast<int>(static_cast<std::uint32_t>(row) % static_cast<std::uint32_t>(length)) * 32 + 8 * (at.lane % 4);
      load<8>(cos + place, e.cos[r]);
      load<8>(sin + place, e.sin[r]);
    }
  }

  __device__ __forceinline__ void finish(const TilePlace& at, float (&sum)[64], const Early& e) const {
    const int normed = heads + kv_heads;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Index row = at.row_of(r);
#pragma unroll
      for (int head = 0; head < 2; ++head) {
        const int own = at.column / 64 + head;
        float square = 0;
#pragma unroll
        for (int v = 0; v < 8; ++v) {
          float &first = sum[element(r, 2 * head, v)], &second = sum[element(r, 2 * head + 1, v)];
          first *= e.norm[r];
          second *= e.norm[r];
          square += first * first + second * second;
        }
        if (own >= normed) continue;  // a value, for the whole block
        const float inverse = rsqrtf(sum_over_lanes<4>(square) / 64.0f + epsilon);
        if (head_norm != nullptr && row < at.rows && at.lane % 4 == 0) head_norm[row * normed + own] = inverse;
        const float scale = inverse * (own < heads && gain != nullptr ? __ldg(gain + own) : 1.0f);
#pragma unroll
        for (int v = 0; v < 8; ++v) {
          float &first = sum[element(r, 2 * head, v)], &second = sum[element(r, 2 * head + 1, v)];
          const float a = first * scale, b = second * scale;
          first = a * e.cos[r][v] + b * e.sin[r][v];
          second = b * e.cos[r][v] - a * e.sin[r][v];
        }
      }
      store_row(sum, r, at, row, out);
    }
  }
};

}  // namespace caddie::ops::cuda
