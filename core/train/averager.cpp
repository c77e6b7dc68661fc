#include "core/train/averager.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "caddie/error.h"
#include "core/train/state.h"

namespace caddie::train {

Averager::Averager(const Averaging& settings, const std::vector<Parameter>& parameters) : settings_(settings) {
  const at::NoGradGuard guard;
  for (const auto& parameter : parameters) {
    names_.push_back(parameter.name);
    parameters_.push_back(parameter.tensor.detach());
    if (settings_.ema) ema_.push_back(parameter.tensor.detach().clone());
  }
}

Averager::~Averager() = default;

void Averager::allocate_swa() {
  for (const auto& parameter : parameters_) swa_.push_back(at::empty_like(parameter));
}

void Averager::update(std::int64_t step, double rate_factor, double progress) {
  const at::NoGradGuard guard;
  if (settings_.ema) at::_foreach_lerp_(ema_, parameters_, 1 - *settings_.ema);
  if (settings_.latest_count > 0 && (step + 1) % settings_.latest_every == 0) take_latest();
  if (settings_.swa_every == 0 || rate_factor >= settings_.swa_below || progress < settings_.swa_from) return;
  if ((step + 1) % settings_.swa_every != 0) return;
  ++swa_count_;
  if (swa_count_ == 1) {
    if (swa_.empty()) allocate_swa();
    for (std::size_t i = 0; i < swa_.size(); ++i) swa_[i].copy_(parameters_[i]);
  } else {
    at::_foreach_lerp_(swa_, parameters_, 1.0 / static_cast<double>(swa_count_));
  }
}

void Averager::take_latest() {
  const auto slot = static_cast<std::size_t>(latest_taken_++ % settings_.latest_count);
  if (slot == latest_.size()) {
    auto& values = latest_.emplace_back();
    for (const auto& parameter : parameters_) values.push_back(at::empty_like(parameter));
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) latest_[slot][i].copy_(parameters_[i]);
}

std::vector<at::Tensor> Averager::late_mean() const {
  if (swa_count_ > 0) return swa_;
  std::vector<at::Tensor> mean;
  for (std::size_t i = 0; i < parameters_.size() && !latest_.empty(); ++i) {
    auto sum = latest_.front()[i].clone();
    for (std::size_t slot = 1; slot < latest_.size(); ++slot) sum.add_(latest_[slot][i]);
    mean.push_back(sum.div_(static_cast<double>(latest_.size())));
  }
  return mean;
}

NamedTensors Averager::named(const std::vector<at::Tensor>& values) const {
  NamedTensors result;
  for (std::size_t i = 0; i < values.size(); ++i) result.emplace_back(names_[i], values[i]);
  return result;
}

NamedTensors Averager::ema() const { return named(ema_); }
NamedTensors Averager::swa() const { return swa_count_ > 0 ? named(swa_) : NamedTensors{}; }

NamedTensors Averager::final_weights() const {
  const at::NoGradGuard guard;
  const auto late = late_mean();
  std::vector<at::Tensor> values;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (settings_.ema && !late.empty())
      values.push_back(ema_[i].mul(settings_.blend).add_(late[i], 1 - settings_.blend));
    else if (settings_.ema)
      values.push_back(ema_[i].clone());
    else
      values.push_back((late.empty() ? parameters_ : late)[i].clone());
  }
  return named(values);
}

void Averager::save(StateWriter& writer) const {
  writer.number("swa_count", static_cast<double>(swa_count_));
  for (std::size_t i = 0; i < ema_.size(); ++i) writer.tensor("ema/" + names_[i], ema_[i]);
  if (settings_.latest_count > 0) writer.number("latest_taken", static_cast<double>(latest_taken_));
  for (std::size_t slot = 0; slot < latest_.size(); ++slot)
    for (std::size_t i = 0; i < names_.size(); ++i)
      writer.tensor(concat("latest/", slot, "/", names_[i]), latest_[slot][i]);
  if (swa_count_ == 0) return;
  for (std::size_t i = 0; i < swa_.size(); ++i) writer.tensor("swa/" + names_[i], swa_[i]);
}

void Averager::load(const StateReader& reader) {
  swa_count_ = static_cast<std::int64_t>(reader.number("swa_count"));
  for (std::size_t i = 0; i < ema_.size(); ++i) restore_tensor(reader, "ema/" + names_[i], ema_[i]);
  if (settings_.latest_count > 0) load_latest(reader);
  if (swa_count_ == 0) return;
  if (swa_.empty()) allocate_swa();
  for (std::size_t i = 0; i < swa_.size(); ++i) restore_tensor(reader, "swa/" + names_[i], swa_[i]);
}

void Averager::load_latest(const StateReader& reader) {
  latest_taken_ = static_cast<std::int64_t>(reader.number("latest_taken"));
  latest_.clear();
  for (std::int64_t slot = 0; slot < std::min(latest_taken_, settings_.latest_count); ++slot) {
    auto& values = latest_.emplace_back();
    for (std::size_t i = 0; i < names_.size(); ++i) {
      values.push_back(at::empty_like(parameters_[i]));
      restore_tensor(reader, concat("latest/", slot, "/", names_[i]), values.back());
    }
  }
}

}  // namespace caddie::train
