#include "core/parity/check.h"

#include "core/parity/kinds.h"

namespace caddie::parity {

CheckRun::CheckRun(const Bundle& bundle, const CheckSpec& spec, const Catalogue& catalogue, Services& services)
    : bundle_(bundle), spec_(spec), catalogue_(catalogue), services_(services) {}

void CheckRun::missing(const char* what, const std::string& name) const {
  throw Error(ErrorKind::data,
              concat("the check '", spec_.id, "' (", spec_.kind, ") lacks the ", what, " '", name, "'"),
              "The bundle was made by another version of its generator.");
}

at::Tensor CheckRun::input(const std::string& name) const {
  const auto found = spec_.inputs.find(name);
  if (found == spec_.inputs.end()) missing("input", name);
  return bundle_.tensor(found->second);
}

at::Tensor CheckRun::tokens(const std::string& name) const { return input(name).to(at::kLong); }

std::vector<at::Tensor> CheckRun::inputs(const std::string& stem) const {
  std::vector<at::Tensor> found;
  while (has_input(stem + std::to_string(found.size()))) found.push_back(input(stem + std::to_string(found.size())));
  if (found.empty()) missing("input", stem + "0");
  return found;
}

NamedTensors CheckRun::parameters(const std::string& name) const {
  const auto found = spec_.inputs.find(name);
  if (found == spec_.inputs.end()) missing("input", name);
  return bundle_.parameters_of(found->second);
}

void CheckRun::note(const std::string& name, Comparison comparison) {
  outputs_.insert_or_assign(name, std::move(comparison));
}

void CheckRun::give(const std::string& name, const at::Tensor& value) {
  const auto found = spec_.expect.find(name);
  if (found == spec_.expect.end()) return;
  note(name, compare(found->second, value, [this](std::string_view key) { return bundle_.tensor(key); }));
}

void CheckRun::give(const std::string& name, const Json& value) {
  const auto found = spec_.expect.find(name);
  if (found != spec_.expect.end()) note(name, compare(found->second, value));
}

void CheckRun::give(const std::string& prefix, const NamedTensors& values) {
  for (const auto& [name, value] : values) give(prefix + name, value);
}

bool CheckRun::belongs_to_empty_parameter(const std::string& output) const {
  for (const ParameterSpec& parameter : bundle_.parameters())
    if (parameter.empty() && (output == parameter.name || output.ends_with("/" + parameter.name))) return true;
  return false;
}

std::vector<CheckRun::Output> CheckRun::outputs() const {
  std::vector<Output> all;
  for (const auto& [name, expected] : spec_.expect) {
    const auto found = outputs_.find(name);
    if (found == outputs_.end() && belongs_to_empty_parameter(name)) continue;
    all.push_back(
        {name, found != outputs_.end() ? found->second : Comparison{kBroken, kBroken, 0, "was not computed"}});
  }
  return all;
}

CheckRun::Output CheckRun::worst() const {
  Output worst{"", {}};
  for (Output& output : outputs())
    if (worst.name.empty() || output.comparison.worst > worst.comparison.worst) worst = std::move(output);
  return worst;
}

namespace {

const std::map<std::string, CheckFunction>& kinds() {
  static const std::map<std::string, CheckFunction> all = {{"byte_table", check_byte_table},
                                                           {"encode", check_encode},
                                                           {"loader", check_loader},
                                                           {"shards", check_shards},
                                                           {"byte_shuffle", check_byte_shuffle},
                                                           {"rope", check_rope},
                                                           {"rope_bfloat16", check_rope_bfloat16},
                                                           {"fake_quant", check_fake_quant},
                                                           {"newton_schulz", check_newton_schulz},
                                                           {"embedding_init", check_embedding_init},
                                                           {"forward", check_forward},
                                                           {"gradients", check_gradients},
                                                           {"greedy", check_greedy},
                                                           {"muon", check_muon},
                                                           {"adamw", check_adamw},
                                                           {"momentum", check_momentum},
                                                           {"train", check_train},
                                                           {"average", check_average},
                                                           {"schedule", check_schedule},
                                                           {"schedule_by_steps", check_schedule_by_steps},
                                                           {"eval_flat", check_eval_flat},
                                                           {"eval_sliding", check_eval_sliding},
                                                           {"windows", check_windows},
                                                           {"ttt", check_ttt},
                                                           {"hessian", check_hessian},
                                                           {"gptq", check_gptq},
                                                           {"model_hessians", check_model_hessians},
                                                           {"export", check_export},
                                                           {"gptq_model", check_gptq_model},
                                                           {"pipeline", check_pipeline}};
  return all;
}

}  // namespace

CheckFunction check_function(const std::string& kind) {
  const auto found = kinds().find(kind);
  return found == kinds().end() ? nullptr : found->second;
}

std::vector<std::string> check_kinds() {
  std::vector<std::string> names;
  for (const auto& [name, function] : kinds()) names.push_back(name);
  return names;
}

}  // namespace caddie::parity
