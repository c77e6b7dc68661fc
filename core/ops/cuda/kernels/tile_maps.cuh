// The host's side of kernels on matrix units of compute capability 9.0: maps that tell the copy engine how a matrix lies, and
// what is asked of a device once.
#pragma once

#include <cudaTypedefs.h>

#include <algorithm>
#include <cstddef>

#include "core/ops/cuda/kernels/choose.h"

namespace caddie::ops::cuda {

inline PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result) != cudaSuccess ||
        result != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      found = nullptr;
    }
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }();
  return encode;
}

template <std::size_t N>
CUtensorMap map_of(const void* matrix, const cuuint64_t (&sizes)[N], const cuuint64_t (&strides)[N - 1], const cuuint32_t (&box)[N]) {
  CUtensorMap map{};
  cuuint32_t steps[N];
  std::fill(steps, steps + N, 1u);
  const CUresult made = encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, N, const_cast<void*>(matrix), sizes, strides, box, steps,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (made != CUDA_SUCCESS) failed_before_launch = "a matrix cannot be copied in tiles: it must begin at a multiple of 16 bytes";
  return map;
}

inline constexpr int kMostDevices = 64;
inline int current_device() {
  int device = 0;
  cudaGetDevice(&device);
  return device < kMostDevices ? device : 0;
}

struct Processors {
  int count = 0;
  bool usable = false;
};
// Of the current device.
inline const Processors& processors() {
  static Processors known[kMostDevices];
  static bool asked[kMostDevices];
  const int device = current_device();
  if (!asked[device]) {  // twice by two threads gives the same
    int major = 0, count = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    known[device] = {count, major == 9 && encoder() != nullptr};
    asked[device] = true;
  }
  return known[device];
}

// Of the current device, for a kernel: once; again by another thread does no harm.
template <auto Kernel, std::size_t Bytes>
void allow_shared_memory() {
  static bool allowed[kMostDevices];
  const int device = current_device();
  if (!allowed[device])
    allowed[device] = cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Bytes) == cudaSuccess;
}

}  // namespace caddie::ops::cuda
