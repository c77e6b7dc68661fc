#include "batch.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>

#include "caddie/ops.h"

namespace gptq {
namespace {

namespace ops = caddie::ops;

// Matrices of one width.
class Batch {
 public:
  Batch(std::span<const Job> jobs, std::vector<std::size_t> members, const Settings& settings)
      : jobs_(jobs), members_(std::move(members)), settings_(settings) {
    std::vector<at::Tensor> hessians;
    for (const auto i : members_) {
      hessians.push_back(jobs_[i].hessian);
      most_rows_ = std::max(most_rows_, jobs_[i].rows.size(0));
    }
    const auto stacked = at::stack(hessians);
    const auto diagonal = stacked.diagonal(0, 1, 2);
    const auto alive = at::where(diagonal.eq(0), at::ones_like(diagonal), diagonal);
    const auto n = stacked.size(0), columns = stacked.size(1);
    order_ = settings.descending
                 ? std::get<1>(alive.sort(/*stable=*/true, 1, /*descending=*/true))
                 : at::arange(columns, stacked.options().dtype(at::kLong)).expand({n, columns}).contiguous();
    arranged_ = stacked.gather(1, order_.unsqueeze(2).expand_as(stacked)).gather(2, order_.unsqueeze(1).expand_as(stacked));
    diagonal_ = alive.gather(1, order_);
    mean_ = alive.mean(1, /*keepdim=*/true);
  }

  void run(std::vector<std::optional<Outcome>>& outcomes) {
    std::vector<std::int64_t> left;
    for (std::size_t k = 0; k < members_.size(); ++k) left.push_back(static_cast<std::int64_t>(k));
    for (const double share : settings_.damping) {
      if (left.empty()) return;
      left = try_damping(left, share, outcomes);
    }
  }

 private:
  // Returns those that have no factor at this damping.
  std::vector<std::int64_t> try_damping(const std::vector<std::int64_t>& chosen, double share,
                                        std::vector<std::optional<Outcome>>& outcomes) {
    const bool all = chosen.size() == members_.size();
    const auto index = at::tensor(chosen, at::kLong).to(order_.device());
    const auto of = [&](const at::Tensor& t) { return all ? t : t.index_select(0, index); };
    auto damped = of(arranged_).clone();
    // In float32, as the reference: mean and product are float32 numbers.
    const auto damping = of(mean_).mul(static_cast<float>(share)).clamp_min(1e-6);
    damped.diagonal(0, 1, 2).copy_(of(diagonal_).add(damping));
    const auto [upper, positive] = ops::inverse_factor(damped);
    const auto good = positive.logical_and(upper.isfinite().flatten(1).all(1)).cpu();
    std::vector<std::int64_t> done, failed, places;
    for (std::size_t k = 0; k < chosen.size(); ++k) {
      const bool worked = good.const_data_ptr<bool>()[k];
      (worked ? done : failed).push_back(chosen[k]);
      if (worked) places.push_back(static_cast<std::int64_t>(k));
    }
    if (!done.empty()) {
      const auto factors = failed.empty() ? upper : upper.index_select(0, at::tensor(places, at::kLong).to(upper.device()));
      round(done, factors, share, outcomes);
    }
    return failed;
  }

  void round(const std::vector<std::int64_t>& chosen, const at::Tensor& upper, double share,
             std::vector<std::optional<Outcome>>& outcomes) const {
    const auto n = static_cast<std::int64_t>(chosen.size()), columns = upper.size(1);
    auto values = at::zeros({n, columns, most_rows_}, upper.options());
    auto steps = at::ones({n, most_rows_}, upper.options());  // rows that are not there: zeros, with a step of 1
    const auto job = [&](std::int64_t k) -> const Job& { return jobs_[members_[static_cast<std::size_t>(chosen[static_cast<std::size_t>(k)])]]; };
    const auto order = [&](std::int64_t k) { return order_.select(0, chosen[static_cast<std::size_t>(k)]); };
    for (std::int64_t k = 0; k < n; ++k) {
      const auto rows = job(k).rows.size(0);
      values.select(0, k).narrow(1, 0, rows).copy_(job(k).rows.index_select(1, order(k)).t());
      steps.select(0, k).narrow(0, 0, rows).copy_(job(k).steps);
    }
    const int top = (1 << (settings_.bits - 1)) - 1;
    const auto codes = ops::round_with_feedback(values, steps, upper, top, settings_.block);
    for (std::int64_t k = 0; k < n; ++k) {
      const auto rows = job(k).rows.size(0);
      auto own = at::empty({rows, columns}, codes.options());
      own.index_copy_(1, order(k), codes.select(0, k).narrow(1, 0, rows).t());
      outcomes[members_[static_cast<std::size_t>(chosen[static_cast<std::size_t>(k)])]] = Outcome{std::move(own), share};
    }
  }

  std::span<const Job> jobs_;
  std::vector<std::size_t> members_;
  const Settings& settings_;
  std::int64_t most_rows_ = 0;
  at::Tensor order_, arranged_, diagonal_, mean_;  // [n, C], [n, C, C], [n, C], [n, 1]
};

}  // namespace

std::vector<std::optional<Outcome>> quantize_jobs(std::span<const Job> jobs, const Settings& settings) {
  std::vector<std::optional<Outcome>> outcomes(jobs.size());
  std::map<std::int64_t, std::vector<std::size_t>> by_width;
  for (std::size_t i = 0; i < jobs.size(); ++i) by_width[jobs[i].rows.size(1)].push_back(i);
  for (auto& [columns, members] : by_width) Batch(jobs, std::move(members), settings).run(outcomes);
  return outcomes;
}

}  // namespace gptq
