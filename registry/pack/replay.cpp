// The parts of `verify` that need tensors: decoding an artifact and scoring it.
#include "core/artifact/container.h"
#include "core/artifact/quantized_model.h"
#include "core/host/catalogue.h"
#include "core/pipeline/run.h"
#include "core/pipeline/session.h"
#include "registry/pack/verify.h"

namespace caddie::registry {

std::string decoded_hash(const std::filesystem::path& file, const Catalogue& catalogue) {
  const auto whole = artifact::read_artifact(
      file, [&](const Json& section) { return catalogue.create_compressor(section, CompressorContext{nullptr}); });
  return artifact::weights_hash(artifact::decoded_weights(whole));
}

Json replay_scores(const std::filesystem::path& manifest, const std::vector<std::string>& overrides,
                   const std::filesystem::path& artifact, const std::filesystem::path& scratch,
                   std::shared_ptr<const Catalogue> catalogue) {
  Manifest loaded = load_manifest(manifest, overrides, *catalogue);
  const pipeline::Session session(std::move(loaded), std::move(catalogue));
  pipeline::RunOptions options;
  options.cache = scratch / "cache";  // nothing that was computed before
  return pipeline::evaluate_artifact(session, options, artifact);
}

}  // namespace caddie::registry
