#include "core/train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/stack.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/base/parameter_match.h"
#include "core/base/trace.h"
#include "core/train/not_finite.h"
#include "core/train/state.h"

namespace caddie::train {

std::vector<FakeQuantRule> expand_fake_quant(std::span<const FakeQuant> entries, std::span<const Parameter> parameters) {
  std::vector<FakeQuantRule> rules;
  for (const auto& [match, bits] : entries) {
    // A group such as "attention" may hold vectors too; only matrices are meant, or embeddings if nothing else matches.
    const auto found = select_parameters(parameters, match, "train.fake_quant");
    const auto is = [&](Role role) { return [&parameters, role](std::size_t i) { return parameters[i].role == role; }; };
    const Role meant = std::any_of(found.begin(), found.end(), is(Role::matrix)) ? Role::matrix : Role::embedding;
    CADDIE_CHECK(std::any_of(found.begin(), found.end(), is(meant)), ErrorKind::usage, "train.fake_quant: '", match,
                 "' matches vectors only; weights of linear maps can be fake-quantized");
    for (std::size_t i : found) {
      if (parameters[i].role != meant) continue;
      const bool twice = std::any_of(rules.begin(), rules.end(),
                                     [&](const FakeQuantRule& rule) { return rule.parameter == parameters[i].name; });
      CADDIE_CHECK(!twice, ErrorKind::usage, "train.fake_quant: more than one rule matches ", parameters[i].name);
      rules.push_back({parameters[i].name, bits});
    }
  }
  return rules;
}

namespace {

// A tensor on its way from a device into pinned memory of the host.
class Arrival {
 public:
  // `place` is made if it does not fit.
  Arrival(const at::Tensor& from, at::Tensor& place) {
    const bool pinned = !from.is_cpu();
    if (!place.defined() || place.sizes() != from.sizes())
      place = at::empty(from.sizes(), at::TensorOptions().dtype(from.dtype()).pinned_memory(pinned));
    place.copy_(from, /*non_blocking=*/true);
    place_ = place;
    if (!pinned) return;
    const auto type = from.device().type();
    event_.emplace(type);
    event_->record(c10::impl::VirtualGuardImpl(type).getStream(from.device()));
  }
  const at::Tensor& wait() {
    if (event_) event_->synchronize();
    return place_;
  }

 private:
  at::Tensor place_;
  std::optional<c10::Event> event_;
};

}  // namespace

Trainer::Trainer(Model& model, const TrainSettings& settings, const OptimizerFactory& factory, Communicator& communicator,
                 Services& services)
    : model_(model),
      settings_(settings),
      communicator_(communicator),
      gradients_(model.parameters()),
      averager_(settings.average, model.parameters()) {
  if (communicator.size() > 1) reducer_ = std::make_unique<GradientReducer>(gradients_, model.parameters(), communicator);
  for (const Parameter& parameter : model.parameters()) parameters_.push_back(parameter.tensor.detach());
  look_late(!gradients_.all().is_cpu());
  fake_quant_ = expand_fake_quant(settings_.fake_quant, model_.parameters());
  model_.set_fake_quant(fake_quant_);
  make_optimizers(factory, services);
}

Trainer::~Trainer() = default;

void Trainer::make_optimizers(const OptimizerFactory& factory, Services& services) {
  const auto& parameters = model_.parameters();
  const auto owner = assign_parameters(parameters, settings_.optimizers, "optimizers");
  optimizers_.resize(settings_.optimizers.size());
  for (std::size_t entry = 0; entry < optimizers_.size(); ++entry) {
    OptimizerContext context{&services, &communicator_, {}};
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (owner[i] == entry)
        context.parameters.push_back({parameters[i].name, parameters[i].tensor.detach(), gradients_.gradient(i)});
    if (!context.parameters.empty()) optimizers_[entry] = factory(entry, context);
  }
}

void Trainer::look_late(bool on) {
  late_ = on;
  if (!on || !before_.empty()) return;
  for (const at::Tensor& parameter : parameters_) before_.push_back(at::empty_like(parameter));
}

void Trainer::set_progress(double progress) {
  model_.set_progress(progress);
  const bool rounds = progress >= settings_.fake_quant_from;
  if (rounds == rounds_) return;
  model_.set_fake_quant(rounds ? std::span<const FakeQuantRule>(fake_quant_) : std::span<const FakeQuantRule>());
  rounds_ = rounds;
}

// Everything of a step before the optimizers. What it needs of the host is in `micro_batches`, on the device already.
at::Tensor Trainer::forward_and_backward(std::span<const Batch> micro_batches) {
  gradients_.zero();
  {
    const trace::Span span("train", "prepare");
    model_.prepare(true);
  }
  const auto device = gradients_.all().device();
  const double share = 1.0 / static_cast<double>(micro_batches.size() * static_cast<std::size_t>(communicator_.size()));
  const at::Tensor scale = at::full({}, share, gradients_.all().options());
  std::vector<at::Tensor> losses, norms;
  for (const Batch& batch : micro_batches) {
    const trace::Span span("train", "micro batch", static_cast<std::int64_t>(losses.size()));
    const bool last = &batch == &micro_batches.back();
    const at::Tensor loss = [&] {
      const trace::Span forward("train", "forward");
      return model_.loss(batch.inputs.to(device, true), batch.targets.to(device, true));
    }();
    CADDIE_CHECK(loss.dim() == 0 && loss.scalar_type() == at::kFloat && loss.requires_grad(), ErrorKind::failed,
                 "the model's loss is not a float32 scalar with a gradient");
    if (reducer_ && last) reducer_->begin();
    {
      const trace::Span backward("train", "backward");
      loss.backward(scale);
    }
    if (reducer_ && last) {
      const trace::Span rest("train", "wait for the other ranks");
      reducer_->finish();
    }
    losses.push_back(loss.detach());
    norms.push_back(at::linalg_vector_norm(gradients_.all()));
  }
  losses.insert(losses.end(), norms.begin(), norms.end());
  return at::stack(losses);
}

at::Tensor Trainer::accumulate(std::span<const Batch> micro_batches) {
  const at::Tensor measured = recordable(micro_batches) ? repeated(micro_batches) : forward_and_backward(micro_batches);
  if (steps_ == 0) gradients_.check_attached();
  return measured;
}

// Small steps wait for their launches; large ones do not, and a recording keeps all memory of a step for itself.
bool Trainer::recordable(std::span<const Batch> micro_batches) {
  constexpr std::int64_t kMostTokens = 32768;  // of a step
  if (reducer_ || model_.form() < 0 || gradients_.all().is_cpu() || ops::using_oracles()) return false;
  std::int64_t tokens = 0;
  for (const Batch& batch : micro_batches) tokens += batch.inputs.numel();
  return tokens <= kMostTokens;
}

// The same work on the same memory as in the step before, unless a shape or the model's form changed.
at::Tensor Trainer::repeated(std::span<const Batch> micro_batches) {
  const auto device = gradients_.all().device();
  bool same = recorded_ && form_ == model_.form() && static_batches_.size() == micro_batches.size();
  for (std::size_t i = 0; same && i < micro_batches.size(); ++i)
    same = static_batches_[i].inputs.sizes() == micro_batches[i].inputs.sizes() &&
           static_batches_[i].targets.sizes() == micro_batches[i].targets.sizes();
  if (!same) {
    recorded_ = std::make_unique<ops::Recorded>(device);
    form_ = model_.form();
    static_batches_.clear();
    for (const Batch& batch : micro_batches)
      static_batches_.push_back({at::empty_like(batch.inputs, batch.inputs.options().device(device)),
                                 at::empty_like(batch.targets, batch.targets.options().device(device))});
    static_measured_ = at::empty({2 * static_cast<std::int64_t>(micro_batches.size())}, gradients_.all().options());
  }
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    static_batches_[i].inputs.copy_(micro_batches[i].inputs, /*non_blocking=*/true);
    static_batches_[i].targets.copy_(micro_batches[i].targets, /*non_blocking=*/true);
  }
  recorded_->run([this] { static_measured_.copy_(forward_and_backward(static_batches_)); });
  return static_measured_;
}

std::optional<double> Trainer::mean_loss(const at::Tensor& measured) {
  const auto count = measured.size(0) / 2;
  const float* values = measured.const_data_ptr<float>();
  const bool finite = std::all_of(values, values + 2 * count, [](float value) { return std::isfinite(value); });
  double loss = 0;
  for (std::int64_t i = 0; i < count; ++i) loss += static_cast<double>(values[i]) / static_cast<double>(count);
  if (reducer_) {
    at::Tensor shared = at::empty({2}, at::kDouble);
    shared[0] = loss;
    shared[1] = finite ? 0.0 : 1.0;
    communicator_.all_reduce_sum(shared);  // from host to host: all are here, the gradients' sums are done
    const double* sums = shared.const_data_ptr<double>();
    if (sums[1] > 0) return std::nullopt;
    return sums[0] / communicator_.size();
  }
  if (!finite) return std::nullopt;
  return loss;
}

void Trainer::clip() {
  at::Tensor& all = gradients_.all();
  const at::Tensor norm = at::linalg_vector_norm(all);
  // A norm that is NaN leaves the gradients as they are: the report looks for those that are.
  all.mul_(norm.add(1e-6).reciprocal_().mul_(settings_.gradient_clip).clamp_max_(1.0).nan_to_num_(1.0));
}

double Trainer::step(std::span<const Batch> micro_batches, double rate_factor, double progress) {
  CADDIE_CHECK(!micro_batches.empty(), ErrorKind::failed, "a training step without micro batches");
  set_progress(progress);
  const at::Tensor measured = accumulate(micro_batches);
  const at::NoGradGuard guard;
  if (!late_) {
    const at::Tensor here = measured.cpu();
    const auto loss = mean_loss(here);
    if (!loss) report_not_finite(here, micro_batches);
    update(rate_factor, progress);
    return *loss;
  }
  Arrival losses(measured, on_host_);
  at::_foreach_copy_(before_, parameters_);
  update(rate_factor, progress);
  const auto loss = [&] {
    const trace::Span span("train", "wait for the losses");
    return mean_loss(losses.wait());  // the only wait for a device in a step, and it has the optimizers to do
  }();
  if (!loss) {
    at::_foreach_copy_(parameters_, before_);
    --steps_;
    report_not_finite(on_host_, micro_batches);
  }
  return *loss;
}

void Trainer::update(double rate_factor, double progress) {
  const at::NoGradGuard guard;
  if (settings_.gradient_clip > 0) clip();
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    if (!optimizers_[i]) continue;
    const trace::Span span("train", "optimizer", static_cast<std::int64_t>(i));
    optimizers_[i]->step({steps_, rate_factor, progress});
  }
  {
    const trace::Span span("train", "average");
    averager_.update(steps_, rate_factor, progress);
  }
  ++steps_;
}

void Trainer::report_not_finite(const at::Tensor& measured, std::span<const Batch> micro_batches) {
  const float* values = measured.const_data_ptr<float>();
  const std::size_t count = micro_batches.size();
  CADDIE_CHECK(!reducer_ || !std::all_of(values, values + 2 * count, [](float value) { return std::isfinite(value); }),
               ErrorKind::failed, "step ", steps_, ": a loss or gradient of another rank is not finite");
  std::size_t micro = 0;
  while (micro + 1 < count && std::isfinite(values[micro]) && std::isfinite(values[count + micro])) ++micro;
  const bool loss_is_finite = std::isfinite(values[micro]);
  const std::string what = loss_is_finite ? "a gradient is not finite" : concat("the loss is ", values[micro]);
  const std::string tensor = first_not_finite(model_, gradients_, micro_batches[micro], loss_is_finite);
  throw Error(ErrorKind::failed,
              concat("step ", steps_, ", micro batch ", micro,
                     communicator_.size() > 1 ? concat(" of rank ", communicator_.rank()) : std::string(), ": ", what,
                     "; the first tensor that is not finite: ", tensor),
              "Lower the learning rates or set train.gradient_clip, for example to 1; check that the data is text.");
}

NamedTensors Trainer::weights() const {
  NamedTensors result;
  for (const auto& parameter : model_.parameters()) result.emplace_back(parameter.name, parameter.tensor.detach().clone());
  return result;
}

void Trainer::save(StateWriter& writer) const {
  writer.number("steps", static_cast<double>(steps_));
  for (const auto& parameter : model_.parameters()) writer.tensor("parameter/" + parameter.name, parameter.tensor);
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    if (!optimizers_[i]) continue;
    ScopedWriter scoped(writer, concat("optimizer/", i));
    optimizers_[i]->save(scoped);
  }
  ScopedWriter scoped(writer, "average");
  averager_.save(scoped);
}

void Trainer::load(const StateReader& reader) {
  const at::NoGradGuard guard;
  for (const auto& parameter : model_.parameters()) {
    at::Tensor value = parameter.tensor.detach();
    restore_tensor(reader, "parameter/" + parameter.name, value);
  }
  for (std::size_t i = 0; i < optimizers_.size(); ++i)
    if (optimizers_[i]) optimizers_[i]->load(ScopedReader(reader, concat("optimizer/", i)));
  averager_.load(ScopedReader(reader, "average"));
  steps_ = static_cast<std::int64_t>(reader.number("steps"));
}

}  // namespace caddie::train
