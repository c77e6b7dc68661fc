// One quantizer's expectation a tensor, added up, at the compressor's rate.
#include "core/artifact/predict.h"

#include <cmath>
#include <map>

#include "caddie/error.h"

namespace caddie::artifact {

ArtifactPrediction predict_artifact_bytes(std::span<const Parameter> parameters, const QuantizeSettings& settings,
                                          const QuantizerFactory& factory, const Compressor& compressor) {
  const auto entries = assign_quantizers(parameters, settings);
  std::map<std::size_t, std::shared_ptr<Quantizer>> quantizers;
  // Each with its own step a row costs about 30 bytes of header a name template, and 4 a blob; about 600 describe the
  // model. Layers share templates, so that a count of tensors is enough here.
  constexpr double kHeader = 1200, kHeaderPerTensor = 6.5;
  ArtifactPrediction prediction;
  std::map<std::pair<std::size_t, std::vector<std::int64_t>>, ExpectedSize> known;  // shapes repeat
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& parameter = parameters[i];
    ExpectedSize size;
    if (!entries[i]) {
      size = expected_floats(parameter.role == Role::vector ? 4 : 2, false, parameter.tensor.numel());
    } else {
      const auto shape = parameter.tensor.sizes().vec();
      const auto [place, fresh] = known.try_emplace({*entries[i], shape});
      if (fresh) {
        auto& quantizer = quantizers[*entries[i]];
        if (!quantizer) quantizer = factory(settings.tensors[*entries[i]]);
        const std::int64_t rows = shape.empty() ? 1 : shape[0];
        place->second = quantizer->expected_size(rows, rows ? parameter.tensor.numel() / rows : 0);
      }
      size = place->second;
    }
    prediction.raw_bytes += size.raw_bytes;
    prediction.entropy_bytes += size.entropy_bytes;
  }
  prediction.bytes = std::llround(compressor.expected_bytes(prediction.raw_bytes, prediction.entropy_bytes) + kHeader +
                                  kHeaderPerTensor * static_cast<double>(parameters.size()));
  return prediction;
}

}  // namespace caddie::artifact
