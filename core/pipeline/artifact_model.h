// A model made from an artifact file alone: its header says which plugin builds it and with which options.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "caddie/model.h"
#include "core/base/json.h"
#include "core/data/tokenizer.h"
#include "core/host/catalogue.h"

namespace caddie::pipeline {

struct ArtifactModel {
  std::unique_ptr<Services> services;  // lives as long as the model
  std::shared_ptr<Model> model;        // holds the decoded weights, prepared for evaluation
  Json about;                          // what the artifact says about itself
};

// `device`: auto, cpu or cuda. float32 on a CPU, bfloat16 on a GPU.
CADDIE_API ArtifactModel model_of_artifact(const Catalogue& catalogue, const std::filesystem::path& file,
                                           const std::string& device);
// The tokenizer that the artifact was made with: `given`, or tokenizer.model beside the file. Throws Error(data) if it is
// missing or another one.
CADDIE_API data::Tokenizer tokenizer_of_artifact(const std::filesystem::path& file, const Json& about,
                                                 const std::string& given);
// An artifact file, from a path, a run's folder or a run's id.
CADDIE_API std::filesystem::path find_artifact(const std::filesystem::path& runs, const std::string& artifact_or_run);

}  // namespace caddie::pipeline
