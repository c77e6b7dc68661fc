// The one place of the kernels' host side that knows CUDA's streams.
#include <c10/cuda/CUDAStream.h>

#include "core/ops/cuda/fused.h"
#include "core/ops/cuda/glue.h"

namespace caddie::ops::cuda {

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

bool usable_elements(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0;
}

}  // namespace caddie::ops::cuda
