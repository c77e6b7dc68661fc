// What an artifact holds, in numbers: for `caddie artifact info` and `verify`.
#pragma once

#include <string>

#include "core/artifact/container.h"

namespace caddie::artifact {

// Container facts and one entry a tensor: elements, how it is stored, raw bytes, the order-0 entropy of its bytes, and
// its share of all entropy (the payload cannot be taken apart by tensor). Needs decoded tensors.
CADDIE_API Json describe_artifact(const Artifact& artifact);
// As tables of at most 90 columns; layers of one name template are one line, or every tensor is one.
CADDIE_API std::string description_as_text(const Json& description, bool every_tensor);

// Order-0 entropy in bytes, numbers of several bytes by position within the number.
CADDIE_API double entropy_bytes(const at::Tensor& values);

}  // namespace caddie::artifact
