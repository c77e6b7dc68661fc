// The driver: who quantizes what, in the model's order, weights of one input together. What a quantizer returns is final,
// except for the rounding of steps to float16 (reference sections 4 and 7).
#include "core/artifact/quantize.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/interrupt.h"
#include "core/base/parameter_match.h"
#include "core/base/progress.h"
#include "core/base/trace.h"

namespace caddie::artifact {
namespace {

std::string match_of(const Json& entry) { return entry.value("match", std::string()); }

// Kept in float16, whatever the entries say.
bool is_small(const Parameter& parameter, const QuantizeSettings& settings) {
  return parameter.role != Role::vector && parameter.tensor.numel() <= settings.keep_float_elements;
}

// How small tensors and vectors are kept.
StoredTensor kept(const Parameter& parameter) {
  const bool vector = parameter.role == Role::vector;
  QuantizedTensor data{
      Encoding::plain, parameter.tensor.detach().to(vector ? at::kFloat : at::kHalf), {}, 0, false, {}};
  StoredTensor stored{parameter.name,  parameter.tensor.sizes().vec(), parameter.role,
                      as_stored(data), vector ? "float32" : "float16", 0};
  return stored;
}

// |decoded - weight| and |weight|, float32 [2], on the weight's device.
at::Tensor error_and_size(const at::Tensor& decoded, const at::Tensor& weight) {
  return at::stack({decoded.to(weight.device()).sub(weight).norm(), weight.norm()});
}

// "damping 0.01: 60 tensors", "kept: no damping worked: blocks.3.mlp.up.weight".
std::vector<std::string> summarize_notes(const std::vector<StoredTensor>& tensors) {
  std::map<std::string, std::vector<std::string>> by_note;
  for (const auto& tensor : tensors)
    if (!tensor.data.note.empty()) by_note[tensor.quantizer + ": " + tensor.data.note].push_back(tensor.name);
  std::vector<std::string> notes;
  for (const auto& [note, names] : by_note) {
    std::string line = note + ": ";
    if (names.size() > 3) {
      line += concat(names.size(), " tensors");
    } else {
      for (std::size_t i = 0; i < names.size(); ++i) line += (i ? ", " : "") + names[i];
    }
    notes.push_back(line);
  }
  return notes;
}

// One run of the driver over a model's parameters.
class Driver {
 public:
  Driver(Model& model, const QuantizeSettings& settings, const QuantizerFactory& factory)
      : settings_(settings),
        parameters_(model.parameters()),
        entries_(assign_quantizers(parameters_, settings)),
        results_(parameters_.size()) {
    std::set<std::size_t> used;
    for (const auto& entry : entries_)
      if (entry) used.insert(*entry);
    for (const auto entry : used) quantizers_[entry] = factory(settings.tensors[entry]);
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (entries_[i] && is_small(parameters_[i], settings) && !quantizers_[*entries_[i]]->needs_calibration())
        entries_[i].reset();
    for (std::size_t i = 0; i < parameters_.size(); ++i) index_[parameters_[i].name] = i;
  }

  bool needs_calibration(std::size_t i) const {
    return entries_[i] && quantizers_.at(*entries_[i])->needs_calibration();
  }
  bool needs_calibration() const {
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (needs_calibration(i)) return true;
    return false;
  }
  bool wants(const std::string& name) const {
    const auto found = index_.find(name);
    return found != index_.end() && needs_calibration(found->second);
  }

  // Quantizes what `chosen` says and is not done yet. Returns what it did.
  std::vector<std::size_t> run(const HessianCollector& collector, const std::function<bool(std::size_t)>& chosen = {}) {
    const at::NoGradGuard no_gradients;
    std::vector<std::size_t> done;
    Progress progress("quantize");
    if (!parameters_.front().tensor.is_cpu()) quantize_together(collector, chosen);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      throw_if_interrupted();
      if (!chosen || chosen(i)) {
        if (!results_[i]) quantize(i, collector);
        done.push_back(i);
      }
      progress.update(static_cast<double>(i + 1) / static_cast<double>(parameters_.size()), parameters_[i].name);
    }
    read_errors();
    return done;
  }

  const StoredTensor& result(std::size_t i) const { return *results_[i]; }

  QuantizedModel finish() {
    QuantizedModel quantized;
    for (auto& result : results_) quantized.tensors.push_back(std::move(*result));
    quantized.notes = summarize_notes(quantized.tensors);
    return quantized;
  }

 private:
  // The parameter and all others that come with it: same input, same entry.
  std::vector<std::size_t> members_of(std::size_t i, const HessianCollector& collector) const {
    if (!needs_calibration(i)) return {i};
    std::vector<std::size_t> members;
    for (const auto& name : collector.group(parameters_[i].name))
      if (entries_[index_.at(name)] == entries_[i]) members.push_back(index_.at(name));
    std::sort(members.begin(), members.end());
    return members;
  }

  std::vector<Weight> weights_of(const std::vector<std::size_t>& members) const {
    std::vector<Weight> weights;
    for (const auto member : members)
      weights.push_back({parameters_[member].name, parameters_[member].tensor.detach()});
    return weights;
  }

  void quantize(std::size_t i, const HessianCollector& collector) {
    if (!entries_[i]) {
      results_[i] = kept(parameters_[i]);
      errors_.emplace_back(i, error_and_size(decode(results_[i]->data), parameters_[i].tensor.detach()));
      return;
    }
    std::shared_ptr<const Calibration> calibration;
    if (needs_calibration(i)) calibration = collector.calibration(parameters_[i].name);
    const auto members = members_of(i, collector);
    const auto weights = weights_of(members);
    const trace::Span span("quantize", weights.front().name);
    with_context(*entries_[i], [&] {
      store(members, *entries_[i], weights, quantizers_[*entries_[i]]->quantize(weights, calibration.get()));
    });
  }

  // What is calibrated, all groups of an entry in one call: a device is slow with one after the other.
  void quantize_together(const HessianCollector& collector, const std::function<bool(std::size_t)>& chosen) {
    for (const auto& [entry, quantizer] : quantizers_) {
      std::vector<std::vector<std::size_t>> members;
      std::vector<WeightGroup> groups;
      std::vector<std::shared_ptr<const Calibration>> calibrations;
      std::set<std::size_t> taken;
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        if (entries_[i] != entry || !needs_calibration(i) || results_[i] || taken.contains(i) || (chosen && !chosen(i))) continue;
        members.push_back(members_of(i, collector));
        taken.insert(members.back().begin(), members.back().end());
        calibrations.push_back(collector.calibration(parameters_[i].name));
        groups.push_back({weights_of(members.back()), calibrations.back().get()});
      }
      if (groups.empty()) continue;
      throw_if_interrupted();
      const trace::Span span("quantize", concat(groups.size(), " groups"));
      with_context(entry, [&] {
        const auto tensors = quantizer->quantize_groups(groups);
        CADDIE_CHECK(tensors.size() == groups.size(), ErrorKind::failed, "it returned ", tensors.size(), " results for ",
                     groups.size(), " groups");
        for (std::size_t k = 0; k < groups.size(); ++k) store(members[k], entry, groups[k].weights, tensors[k]);
      });
    }
  }

  std::string use_of(std::size_t entry) const { return settings_.tensors[entry].value("use", std::string("?")); }

  template <class Body>
  void with_context(std::size_t entry, Body body) const {
    try {
      body();
    } catch (Error& error) {
      throw error.add_context("quantizer " + use_of(entry));
    }
  }

  void store(const std::vector<std::size_t>& members, std::size_t entry, const std::vector<Weight>& weights,
             std::vector<QuantizedTensor> tensors) {
    CADDIE_CHECK(tensors.size() == weights.size(), ErrorKind::failed, "it returned ", tensors.size(), " results for ",
                 weights.size(), " weights");
    for (std::size_t k = 0; k < members.size(); ++k) {
      const auto& parameter = parameters_[members[k]];
      if (needs_calibration(members[k]) && settings_.requantize)
        tensors[k] = exported(tensors[k], parameter, settings_.tensors[entry]);
      StoredTensor stored{
          parameter.name, weights[k].value.sizes().vec(), parameter.role, as_stored(tensors[k]), use_of(entry), 0};
      CADDIE_CHECK(stored.data.codes.sizes() == weights[k].value.sizes(), ErrorKind::failed, "its result for '",
                   parameter.name, "' is ", stored.data.codes.sizes(), ", the weight is ", weights[k].value.sizes());
      errors_.emplace_back(members[k], error_and_size(decoded_near(tensors[k], stored.data), weights[k].value));
      results_[members[k]] = std::move(stored);
    }
  }

  // What decode(stored) gives, on the device where the codes were made.
  static at::Tensor decoded_near(const QuantizedTensor& tensor, const QuantizedTensor& stored) {
    if (tensor.codes.is_cpu() || tensor.encoding != Encoding::row_codes || tensor.low_rank.left.defined()) return decode(stored);
    QuantizedTensor near = tensor;
    near.steps = tensor.steps.to(at::kHalf);
    return decoded_value(near);
  }

  // One wait for the device.
  void read_errors() {
    if (errors_.empty()) return;
    std::vector<at::Tensor> pairs;
    for (const auto& [i, pair] : errors_) pairs.push_back(pair);
    const auto values = at::stack(pairs).to(at::kCPU, at::kDouble);
    for (std::size_t k = 0; k < errors_.size(); ++k) {
      const double error = values.const_data_ptr<double>()[2 * k], size = values.const_data_ptr<double>()[2 * k + 1];
      results_[errors_[k].first]->relative_error = size > 0 ? error / size : 0;
    }
    errors_.clear();
  }

  // The reference's second pass: it sees decoded weights, rounds large ones again and keeps small ones.
  QuantizedTensor exported(const QuantizedTensor& tensor, const Parameter& parameter, const Json& entry) const {
    if (is_small(parameter, settings_))
      return {Encoding::plain, decode(tensor).to(at::kHalf), {}, 0, false, tensor.note};
    return requantize_rows(tensor, entry.value("bits", tensor.bits));
  }

  const QuantizeSettings& settings_;
  const std::vector<Parameter>& parameters_;
  std::vector<std::optional<std::size_t>> entries_;
  std::vector<std::optional<StoredTensor>> results_;
  std::vector<std::pair<std::size_t, at::Tensor>> errors_;  // of results_, not read yet
  std::map<std::size_t, std::shared_ptr<Quantizer>> quantizers_;
  std::map<std::string, std::size_t> index_;
};

// Parameters that hold decoded weights for a while.
class Replaced {
 public:
  explicit Replaced(Model& model) : model_(model) {}
  ~Replaced() {
    const at::NoGradGuard no_gradients;
    for (const auto& [i, value] : originals_) model_.parameters()[i].tensor.copy_(value);
  }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

  void replace(std::size_t i, const StoredTensor& stored) {
    const at::NoGradGuard no_gradients;
    const auto& parameter = model_.parameters()[i].tensor;
    originals_.emplace(i, parameter.detach().clone());
    parameter.copy_(decode(stored.data).view(stored.shape));
  }

 private:
  Model& model_;
  std::map<std::size_t, at::Tensor> originals_;
};

// What needs no calibration first, then layer after layer, and last what belongs to no layer (the head).
void quantize_in_sequence(Model& model, Driver& driver, const std::vector<at::Tensor>& batches, QuantizeTimes& spent) {
  const auto& parameters = model.parameters();
  Replaced replaced(model);
  Stopwatch watch;
  const auto take = [&](const std::vector<std::size_t>& done) {
    for (const auto i : done) replaced.replace(i, driver.result(i));
    spent.quantize_seconds += watch.seconds();
    watch.restart();
  };
  take(driver.run(HessianCollector(), [&](std::size_t i) { return !driver.needs_calibration(i); }));
  std::map<int, int> layers;
  constexpr int kLast = std::numeric_limits<int>::max();
  const auto place = [&](std::size_t i) { return parameters[i].layer < 0 ? kLast : parameters[i].layer; };
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (driver.needs_calibration(i)) ++layers[place(i)];
  for (const auto& [layer, count] : layers) {
    const auto in_layer = [&, wanted = layer](std::size_t i) { return driver.needs_calibration(i) && place(i) == wanted; };
    std::set<std::string> names;
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (in_layer(i)) names.insert(parameters[i].name);
    HessianCollector collector([&](const std::string& name) { return names.contains(name); });
    collect_hessians(model, batches, collector);
    spent.hessians_seconds += watch.seconds();
    watch.restart();
    take(driver.run(collector, in_layer));
  }
}

}  // namespace

QuantizeSettings QuantizeSettings::from_json(const Json& section) {
  QuantizeSettings settings;
  if (!section.is_object()) return settings;
  if (section.contains("calibrate")) settings.calibrate = CalibrateSettings::from_json(section["calibrate"]);
  settings.keep_float_elements = section.value("keep_float_elements", settings.keep_float_elements);
  settings.requantize = section.value("requantize", settings.requantize);
  if (section.contains("tensors"))
    for (const auto& entry : section["tensors"]) settings.tensors.push_back(entry);
  return settings;
}

std::vector<std::optional<std::size_t>> assign_quantizers(std::span<const Parameter> parameters,
                                                          const QuantizeSettings& settings) {
  std::vector<std::optional<std::size_t>> assigned(parameters.size());
  std::vector<bool> used(settings.tensors.size(), false);
  std::string faults;
  int shown = 0;
  const auto fault = [&](const std::string& text) {
    if (++shown <= 5) faults += (faults.empty() ? "" : "; ") + text;
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& parameter = parameters[i];
    std::vector<std::size_t> found;
    for (std::size_t entry = 0; entry < settings.tensors.size(); ++entry) {
      const auto match = match_of(settings.tensors[entry]);
      if (!matches(match, parameter)) continue;
      used[entry] = true;
      if (parameter.role != Role::vector || match == "vector") found.push_back(entry);
    }
    if (is_small(parameter, settings)) {
      if (settings.requantize && found.size() == 1) assigned[i] = found[0];
      continue;
    }
    if (found.size() > 1)
      fault(concat("'", parameter.name, "' is matched by the entries ", match_of(settings.tensors[found[0]]), " and ",
                   match_of(settings.tensors[found[1]])));
    else if (found.empty() && parameter.role != Role::vector)
      fault(concat("'", parameter.name, "' (", role_name(parameter.role), ", ", parameter.tensor.numel(),
                   " elements) is matched by no entry"));
    else if (!found.empty())
      assigned[i] = found[0];
  }
  for (std::size_t entry = 0; entry < used.size(); ++entry)
    if (!used[entry]) fault(concat("the entry '", match_of(settings.tensors[entry]), "' matches no parameter"));
  if (shown > 5) faults += concat("; and ", shown - 5, " more");
  if (!faults.empty())
    throw Error(ErrorKind::usage, "quantize.tensors: " + faults,
                "Each tensor of more than keep_float_elements elements needs exactly one entry; `match` takes a role "
                "(matrix, embedding, vector), a group of the model or a name pattern with *.");
  return assigned;
}

QuantizedModel quantize_model(Model& model, const QuantizeSettings& settings, const QuantizerFactory& factory,
                              const std::function<std::vector<at::Tensor>()>& calibration, QuantizeTimes* times) {
  Driver driver(model, settings, factory);
  QuantizeTimes spent;
  Stopwatch watch;
  HessianCollector collector([&](const std::string& name) { return driver.wants(name); });
  if (driver.needs_calibration()) {
    const auto batches = calibration();
    spent.tokens_seconds = watch.seconds();
    watch.restart();
    if (settings.calibrate.sequential)
      quantize_in_sequence(model, driver, batches, spent);
    else
      collect_hessians(model, batches, collector);
    spent.hessians_seconds += watch.seconds() - spent.quantize_seconds - spent.hessians_seconds;
    watch.restart();
  }
  driver.run(collector);
  spent.quantize_seconds += watch.seconds();
  if (times) *times = spent;
  return driver.finish();
}

QuantizedModel quantize_model(Model& model, const QuantizeSettings& settings, const QuantizerFactory& factory,
                              const CalibrationInputs& inputs, QuantizeTimes* times) {
  const auto batches = [&] {
    return split_batches(calibration_tokens(model, settings.calibrate, inputs), settings.calibrate.batch);
  };
  return quantize_model(model, settings, factory, batches, times);
}

}  // namespace caddie::artifact
