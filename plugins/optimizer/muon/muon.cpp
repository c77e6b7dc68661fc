#include "muon.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "caddie/error.h"
#include "caddie/ops.h"

namespace caddie {
namespace {

constexpr std::int64_t kGrain = 16384;  // elements a thread takes at least

// m = mu m + g; v = g + mu m, or m without Nesterov.
void accumulate(float* m, const float* g, float* v, std::int64_t count, float mu, bool nesterov) {
  at::parallel_for(0, count, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float next = mu * m[i] + g[i];
      m[i] = next;
      v[i] = nesterov ? g[i] + mu * next : next;
    }
  });
}

// p = (p - rate u) keep
template <class T>
void descend(float* p, const T* u, std::int64_t count, float rate, float keep) {
  at::parallel_for(0, count, kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) p[i] = (p[i] - rate * static_cast<float>(u[i])) * keep;
  });
}

bool plain_memory(const OptimizedParameter& parameter) {
  return parameter.value.is_cpu() && parameter.value.is_contiguous() && parameter.gradient.is_contiguous();
}

}  // namespace

Muon::Muon(const Options& options, const OptimizerContext& context)
    : learning_rate_(options.number("learning_rate")),
      momentum_(options.number("momentum")),
      momentum_start_(options.number("momentum_start")),
      weight_decay_(options.number("weight_decay")),
      weight_decay_last_(options.number("weight_decay_last")),
      weight_decay_taper_from_(options.number("weight_decay_taper_from")),
      momentum_warmup_steps_(options.integer("momentum_warmup_steps")),
      nesterov_(options.boolean("nesterov")),
      bfloat16_(options.text("newton_schulz_precision") == "bfloat16"),
      newton_schulz_(newton_schulz_of(options)),
      row_norm_(row_norm_of(options)),
      row_beta2_(options.number("row_beta2")),
      communicator_(context.communicator),
      parameters_(context.parameters) {
  for (const auto& parameter : parameters_)
    if (parameter.value.dim() != 2)
      throw Error(ErrorKind::usage, concat("muon takes matrices; ", parameter.name, " has ", parameter.value.dim(), " dimensions"),
                  "Give it to another optimizer, for example adamw.");
  make_groups();
}

// The matrix that costs most goes to the rank that has least to do: R C min(R, C) multiplications are in each product.
void Muon::deal(std::size_t ranks) {
  const auto cost = [this](std::size_t i) {
    const at::Tensor& value = parameters_[i].value;
    return static_cast<double>(value.numel()) * static_cast<double>(std::min(value.size(0), value.size(1)));
  };
  std::vector<std::size_t> order(parameters_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return cost(a) > cost(b); });
  owner_.resize(parameters_.size());
  std::vector<double> work(ranks, 0);
  for (std::size_t i : order) {
    owner_[i] = static_cast<std::size_t>(std::min_element(work.begin(), work.end()) - work.begin());
    work[owner_[i]] += cost(i);
  }
}

void Muon::make_groups() {
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::size_t>> shapes;
  const auto ranks = static_cast<std::size_t>(communicator_->size()), rank = static_cast<std::size_t>(communicator_->rank());
  deal(ranks);
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (owner_[i] == rank) shapes[{parameters_[i].value.size(0), parameters_[i].value.size(1)}].push_back(i);
  std::int64_t largest = 0;
  for (auto& [shape, members] : shapes) {
    const auto n = static_cast<std::int64_t>(members.size());
    const auto options = parameters_[members.front()].value.options().requires_grad(false);
    largest = std::max(largest, n * shape.first * shape.second);
    groups_.push_back({std::move(members), at::zeros({n, shape.first, shape.second}, options), {}});
    if (row_norm_ == RowNorm::update) groups_.back().row_moment = at::zeros({n, shape.first, 1}, options);
  }
  if (parameters_.empty()) return;
  const auto options = parameters_.front().value.options().requires_grad(false);
  scratch_ = at::empty({largest}, options);
  if (ranks == 1) return;
  std::vector<std::int64_t> used(ranks, 0);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    offsets_.push_back(used[owner_[i]]);
    used[owner_[i]] += parameters_[i].value.numel();
  }
  shared_ = at::zeros({communicator_->size(), *std::max_element(used.begin(), used.end())},
                      options.dtype(bfloat16_ ? at::kBFloat16 : at::kFloat));
}

at::Tensor Muon::orthogonalized(Group& group, double momentum) {
  const std::int64_t rows = group.momentum.size(1), columns = group.momentum.size(2), each = rows * columns;
  at::Tensor direction = scratch_.narrow(0, 0, group.momentum.numel()).view(group.momentum.sizes());
  const bool plain = std::all_of(group.members.begin(), group.members.end(),
                                 [this](std::size_t i) { return plain_memory(parameters_[i]); });
  if (plain) {
    float* m = group.momentum.mutable_data_ptr<float>();
    float* v = direction.mutable_data_ptr<float>();
    for (std::size_t k = 0; k < group.members.size(); ++k, m += each, v += each)
      accumulate(m, parameters_[group.members[k]].gradient.const_data_ptr<float>(), v, each, static_cast<float>(momentum),
                 nesterov_);
  } else {
    std::vector<at::Tensor> gradients;
    for (std::size_t i : group.members) gradients.push_back(parameters_[i].gradient);
    at::stack_out(direction, gradients);
    group.momentum.mul_(momentum).add_(direction);
    if (nesterov_)
      direction.add_(group.momentum, momentum);
    else
      direction.copy_(group.momentum);
  }
  if (row_norm_ == RowNorm::momentum) normalize_rows(direction);
  at::Tensor update = ops::newton_schulz(direction, newton_schulz_.steps, bfloat16_, newton_schulz_.margin);
  if (row_norm_ == RowNorm::update) update = scaled_by_row_moment(update, group.row_moment, row_beta2_);
  if (rows > columns) update.mul_(std::sqrt(static_cast<double>(rows) / static_cast<double>(columns)));
  return update;
}

void Muon::apply(const Group& group, const at::Tensor& updates, const Rates& rates) {
  std::vector<at::Tensor> values;
  bool plain = updates.is_contiguous();
  for (std::size_t i : group.members) {
    values.push_back(parameters_[i].value);
    plain = plain && plain_memory(parameters_[i]);
  }
  if (!plain) {
    at::_foreach_add_(values, updates.to(at::kFloat).unbind(0), -rates.rate);
    at::_foreach_mul_(values, rates.keep);
    return;
  }
  const auto rate = static_cast<float>(rates.rate), keep = static_cast<float>(rates.keep);
  const std::int64_t each = updates.size(1) * updates.size(2);
  for (std::size_t k = 0; k < values.size(); ++k) {
    float* p = values[k].mutable_data_ptr<float>();
    const auto offset = static_cast<std::int64_t>(k) * each;
    if (bfloat16_)
      descend(p, updates.const_data_ptr<c10::BFloat16>() + offset, each, rate, keep);
    else
      descend(p, updates.const_data_ptr<float>() + offset, each, rate, keep);
  }
}

at::Tensor Muon::place(const at::Tensor& shared, std::size_t i) const {
  const at::Tensor& value = parameters_[i].value;
  return shared.select(0, static_cast<std::int64_t>(owner_[i])).narrow(0, offsets_[i], value.numel()).view(value.sizes());
}

void Muon::gather(at::Tensor& shared, const std::vector<at::Tensor>& own) const {
  std::vector<at::Tensor> places, values;
  for (std::size_t g = 0; g < groups_.size(); ++g)
    for (std::size_t k = 0; k < groups_[g].members.size(); ++k) {
      places.push_back(place(shared, groups_[g].members[k]));
      values.push_back(own[g].select(0, static_cast<std::int64_t>(k)).expand_as(places.back()));
    }
  if (!places.empty()) at::_foreach_copy_(places, values);
  communicator_->all_gather(shared);
}

// Every rank computed the updates of its own matrices.
void Muon::share_and_apply(const std::vector<at::Tensor>& updates, const Rates& rates) {
  gather(shared_, updates);
  const at::Tensor all = shared_.to(at::kFloat);
  std::vector<at::Tensor> values, places;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    values.push_back(parameters_[i].value);
    places.push_back(place(all, i));
  }
  at::_foreach_add_(values, places, -rates.rate);
  at::_foreach_mul_(values, rates.keep);
}

void Muon::step(const StepContext& context) {
  if (parameters_.empty()) return;
  const at::NoGradGuard guard;
  const double rate = learning_rate_ * context.rate_factor;
  const Rates rates{linear_ramp(momentum_start_, momentum_, momentum_warmup_steps_, context.step), rate,
                    1 - rate * weight_decay_ * linear_taper(weight_decay_last_, weight_decay_taper_from_, context.progress)};
  if (communicator_->size() == 1) {
    for (Group& group : groups_) apply(group, orthogonalized(group, rates.momentum), rates);
    return;
  }
  std::vector<at::Tensor> updates;
  for (Group& group : groups_) updates.push_back(orthogonalized(group, rates.momentum));
  share_and_apply(updates, rates);
}

// The state does not depend on the number of ranks: every rank writes that of all matrices.
void Muon::save(StateWriter& writer) const {
  const at::NoGradGuard guard;
  if (communicator_->size() > 1 && !parameters_.empty()) {
    std::vector<at::Tensor> own;
    for (const Group& group : groups_) own.push_back(group.momentum);
    at::Tensor all = at::zeros_like(shared_, shared_.options().dtype(at::kFloat));
    gather(all, own);
    for (std::size_t i = 0; i < parameters_.size(); ++i) writer.tensor("momentum/" + parameters_[i].name, place(all, i));
    if (row_norm_ != RowNorm::update) return;
    for (std::size_t g = 0; g < groups_.size(); ++g) own[g] = groups_[g].row_moment;  // [n, R, 1], repeated over the columns
    at::Tensor rows = at::zeros_like(all);
    gather(rows, own);
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      writer.tensor("row_moment/" + parameters_[i].name, place(rows, i).narrow(1, 0, 1));
    return;
  }
  for (const Group& group : groups_)
    for (std::size_t k = 0; k < group.members.size(); ++k) {
      const auto& name = parameters_[group.members[k]].name;
      const auto slot = static_cast<std::int64_t>(k);
      writer.tensor("momentum/" + name, group.momentum.select(0, slot));
      if (group.row_moment.defined()) writer.tensor("row_moment/" + name, group.row_moment.select(0, slot));
    }
}

void Muon::load(const StateReader& reader) {
  const at::NoGradGuard guard;
  const auto restore = [&reader](const std::string& name, at::Tensor place) {
    const at::Tensor saved = reader.tensor(name);
    CADDIE_CHECK(saved.sizes() == place.sizes(), ErrorKind::data, "the saved ", name, " has another shape");
    place.copy_(saved);
  };
  for (Group& group : groups_)
    for (std::size_t k = 0; k < group.members.size(); ++k) {
      const auto& name = parameters_[group.members[k]].name;
      const auto slot = static_cast<std::int64_t>(k);
      restore("momentum/" + name, group.momentum.select(0, slot));
      if (group.row_moment.defined()) restore("row_moment/" + name, group.row_moment.select(0, slot));
    }
}

std::int64_t Muon::state_bytes() const {
  std::int64_t bytes = 0;
  for (const Group& group : groups_) {
    bytes += static_cast<std::int64_t>(group.momentum.nbytes());
    if (group.row_moment.defined()) bytes += static_cast<std::int64_t>(group.row_moment.nbytes());
  }
  return bytes;
}

}  // namespace caddie
