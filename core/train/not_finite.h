// Finds out where a NaN or an infinity came from, once there is one. Slow, and run only then.
#pragma once

#include <string>

#include "caddie/model.h"
#include "core/base/batch_source.h"
#include "core/train/gradient_arena.h"

namespace caddie::train {

// The first tensor that is not finite, in the order of computation: a parameter, an output of the forward pass (looked at
// if the loss is not finite), a gradient. A text such as "gradient of blocks.3.mlp.up.weight (7 of 4096 elements)".
std::string first_not_finite(Model& model, const GradientArena& gradients, const Batch& batch, bool loss_is_finite);

}  // namespace caddie::train
