// Whether a model's forward paths agree: scoring through a path that differs from the trained one cost the reference's
// authors 0.45 BPB once (reference.md section 8.1). A run records the path's name and the largest difference.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "caddie/export.h"
#include "caddie/model.h"
#include "core/base/json.h"

namespace caddie::eval {

struct PathReport {
  std::string path;      // Model::path()
  double loss;           // |loss() in evaluation mode - mean of nats()|, nats
  double nats;           // largest |nats(from = 0) - nats(from > 0)|, nats
  double logits;         // largest |nats() - cross entropy of logits()|, nats
  double generator;      // largest |generator logits - logits()|, relative to the largest logit
  CADDIE_API double largest() const;
  CADDIE_API Json to_json() const;
};

// tokens int64 [B, T + 1], T >= 2, on the model's device. prepare(false) was called.
CADDIE_API PathReport compare_paths(Model& model, const at::Tensor& tokens);

}  // namespace caddie::eval
