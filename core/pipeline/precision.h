// Which precision `precision: auto` means on this machine.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "caddie/model.h"

namespace caddie::pipeline {

// "float32" and "bfloat16" are what they say. "auto": bfloat16 on a GPU; on a CPU float32, unless the processor has bf16
// instructions and a short measurement finds its matrix products in bfloat16 clearly faster (1.5x; the answer is kept per
// machine, so that keys do not change from run to run).
CADDIE_API Precision resolve_precision(const std::string& wanted, at::Device device);

}  // namespace caddie::pipeline
