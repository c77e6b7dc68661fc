#include "core/pipeline/artifact_model.h"

#include "caddie/error.h"
#include "core/artifact/container.h"
#include "core/pipeline/precision.h"
#include "core/pipeline/run_folder.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;

ArtifactModel model_of_artifact(const Catalogue& catalogue, const fs::path& file, const std::string& device) {
  ArtifactModel made;
  made.services = host_services();
  const artifact::Artifact artifact = artifact::read_artifact(file, [&](const Json& section) {
    return catalogue.create_compressor(section, CompressorContext{made.services.get()});
  });
  made.about = artifact.header.about;
  const at::Device where = resolve_device(device);
  made.model = catalogue.create_model(
      made.about.at("model"),
      ModelContext{made.services.get(), where, where.is_cuda() ? Precision::bfloat16 : Precision::float32,
                   made.about.at("vocabulary").get<std::int64_t>(), made.about.at("sequence").get<std::int64_t>()});
  artifact::load_weights(*made.model, artifact::decoded_weights(artifact));
  return made;
}

data::Tokenizer tokenizer_of_artifact(const fs::path& file, const Json& about, const std::string& given) {
  const fs::path path = given.empty() ? file.parent_path() / "tokenizer.model" : fs::path(given);
  if (!fs::exists(path))
    throw Error(ErrorKind::data, concat("the tokenizer ", path.string(), " does not exist"),
                "A run keeps its tokenizer beside the artifact; --tokenizer FILE names another place.");
  data::Tokenizer tokenizer = data::Tokenizer::from_file(path);
  CADDIE_CHECK(tokenizer.sha256() == about.at("tokenizer").get<std::string>(), ErrorKind::data, path.string(),
               " is not the tokenizer that the artifact was made with (sha-256 ", about.at("tokenizer").get<std::string>(), ")");
  return tokenizer;
}

fs::path find_artifact(const fs::path& runs, const std::string& artifact_or_run) {
  if (fs::is_regular_file(artifact_or_run)) return artifact_or_run;
  const RunFolder run = RunFolder::open(runs, artifact_or_run);
  if (!fs::exists(run.artifact()))
    throw Error(ErrorKind::data, concat("the run ", run.id(), " has no artifact: it ended before the compress stage"),
                "caddie run ... --resume goes on with it.");
  return run.artifact();
}

}  // namespace caddie::pipeline
