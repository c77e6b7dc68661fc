#include "tests/conformance/model_fixture.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

namespace caddie::conformance {

SmallModel::SmallModel(const std::string& name, Precision precision, at::Device device)
    : inputs(tokens(2, kSequence, kVocabulary, "inputs")), targets(tokens(2, kSequence, kVocabulary, "targets")) {
  static QuietServices services;
  model = catalogue().create_model(small_section(PluginKind::model, name),
                                   ModelContext{&services, device, precision, kVocabulary, kSequence + 4});
  if (device.is_meta()) return;
  Random random(1337, "model");
  model->initialize(random);
  model->prepare(false);
}

void SmallModel::stir() {
  const at::NoGradGuard no_gradients;
  for (const Parameter& parameter : model->parameters()) {
    at::Tensor value = parameter.tensor;
    const double deviation = value.dim() == 2 && parameter.role != Role::vector
                                 ? 0.7 / std::sqrt(static_cast<double>(value.size(1)))
                                 : 0.1;
    value.add_(normal(value.sizes().vec(), parameter.name, deviation));
  }
  model->prepare(false);
}

}  // namespace caddie::conformance
