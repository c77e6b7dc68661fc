// Quantization: hessian, gptq, model_hessians, export, gptq_model.
#include <ATen/core/grad_mode.h>

#include "core/artifact/calibration.h"
#include "core/artifact/quantize.h"
#include "core/parity/kinds.h"
#include "core/parity/setup.h"

namespace caddie::parity {
namespace {

std::vector<at::Tensor> calibration_batches(CheckRun& run) {
  auto batches = run.inputs("calibration_");
  for (auto& batch : batches) batch = batch.to(at::kLong);
  return batches;
}

std::int64_t longest(const std::vector<at::Tensor>& batches) {
  std::int64_t length = 2;
  for (const auto& batch : batches) length = std::max(length, batch.size(1));
  return length;
}

double batch_loss(Model& model, CheckRun& run) {
  const at::NoGradGuard no_gradients;
  return model.loss(run.tokens("tokens"), run.tokens("targets")).item<double>();
}

// "damping 0.1" of a quantizer's note; null where no damping worked.
Json damping_of(const QuantizedTensor& tensor) {
  const std::string head = "damping ";
  if (tensor.encoding != Encoding::row_codes || !tensor.note.starts_with(head)) return nullptr;
  return std::stod(tensor.note.substr(head.size()));
}

std::shared_ptr<Quantizer> make_gptq(const CheckRun& run) {
  const int bits = bits_of_top(run.setting<std::int64_t>("top"));
  return quantizer_factory(run)({{"use", "gptq"}, {"bits", bits}, {"block", run.setting<std::int64_t>("block")}});
}

}  // namespace

void check_hessian(CheckRun& run) {
  artifact::HessianCollector collector;
  const std::vector<std::string> names{"weight"};
  for (const auto& activations : run.inputs("activations_")) {
    collector.input(names, activations);
    collector.end_batch();
  }
  run.give("hessian", collector.hessian("weight"));
}

void check_gptq(CheckRun& run) {
  const auto quantizer = make_gptq(run);
  const std::vector<Weight> weights{{"weight", run.input("weight")}};
  const artifact::SharedCalibration calibration(run.input("hessian"));
  const QuantizedTensor result = quantizer->quantize(weights, &calibration).at(0);
  run.give("damping", damping_of(result));
  run.give("decoded", artifact::decode(result));
  if (result.encoding != Encoding::row_codes) return;
  run.give("codes", result.codes);
  run.give("steps", result.steps);
  const auto again =
      artifact::as_stored(artifact::requantize_rows(result, bits_of_top(run.setting<std::int64_t>("top"))));
  run.give("export_codes", again.codes);
  run.give("export_steps", again.steps);
}

void check_model_hessians(CheckRun& run) {
  const auto batches = calibration_batches(run);
  const auto model = make_model(run, longest(batches));
  artifact::HessianCollector collector;
  artifact::collect_hessians(*model, batches, collector);
  for (const auto& group : collector.groups())
    for (const auto& name : group) {
      const auto hessian = collector.hessian(name);
      run.give(name, hessian);
      run.give(name + "/diagonal", hessian.diagonal().contiguous());
    }
}

void check_export(CheckRun& run) {
  Json tensors = Json::array();
  const auto bits_of = run.setting<Json>("bits");  // items() looks into it: it must outlive the loop
  for (const auto& [match, bits] : bits_of.items())
    tensors.push_back({{"match", match}, {"use", "round"}, {"bits", bits}});
  const auto settings = artifact::QuantizeSettings::from_json(
      {{"keep_float_elements", run.setting<std::int64_t>("keep_float_elements")}, {"tensors", tensors}});
  const auto model = make_model(run, run.input("tokens").size(1));
  const auto quantized = artifact::quantize_model(
      *model, settings, quantizer_factory(run),
      [&]() -> std::vector<at::Tensor> { throw Error(ErrorKind::failed, "rounding asked for a calibration"); });
  for (const auto& stored : quantized.tensors) {
    const auto decoded = artifact::decode(stored.data).view(stored.shape);
    run.give("decoded/" + stored.name, decoded);
    if (stored.data.encoding == Encoding::row_codes) {
      run.give("codes/" + stored.name, stored.data.codes);
      run.give("steps/" + stored.name, stored.data.steps);
      continue;
    }
    const auto type = stored.data.codes.scalar_type();
    run.give("kept/" + stored.name, Json(type == at::kHalf    ? "float16"
                                         : type == at::kFloat ? "float32"
                                                              : "another type"));
    run.give("values/" + stored.name, stored.data.codes.view(stored.shape));
  }
  artifact::load_weights(*model, artifact::decode(quantized.tensors));
  run.give("loss", Json(batch_loss(*model, run)));
}

void check_gptq_model(CheckRun& run) {
  const auto batches = calibration_batches(run);
  const auto model = make_model(run, std::max(longest(batches), run.input("tokens").size(1)));
  run.give("loss_unquantized", Json(batch_loss(*model, run)));

  // GPTQ's own codes, weights of one input together, as the driver hands them over.
  std::map<std::string, at::Tensor> values;
  for (const Parameter& parameter : model->parameters()) values.emplace(parameter.name, parameter.tensor.detach());
  artifact::HessianCollector collector;
  artifact::collect_hessians(*model, batches, collector);
  const auto quantizer = make_gptq(run);
  for (const auto& group : collector.groups()) {
    std::vector<Weight> weights;
    for (const auto& name : group) weights.push_back({name, values.at(name)});
    const auto calibration = collector.calibration(group.front());
    const auto results = quantizer->quantize(weights, calibration.get());
    for (std::size_t i = 0; i < weights.size(); ++i) {
      run.give("codes/" + weights[i].name, results[i].codes);
      run.give(
          "objective/" + weights[i].name,
          Json(artifact::quadratic_objective(artifact::decode(results[i]), weights[i].value, calibration->hessian())));
    }
  }
  const auto quantized =
      artifact::quantize_model(*model, gptq_settings(run), quantizer_factory(run), [&] { return batches; });
  artifact::load_weights(*model, artifact::decode(quantized.tensors));
  run.give("loss", Json(batch_loss(*model, run)));
}

}  // namespace caddie::parity
