#include "core/eval/profile.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "caddie/error.h"

namespace caddie::eval {
namespace {

// 0, 1, 2, ... and, where that is more than one position, steps of a fifth: about 40 groups up to 2048.
std::vector<std::int64_t> group_starts(std::int64_t sequence) {
  std::vector<std::int64_t> starts;
  for (std::int64_t from = 0; from < sequence; from = std::max(from + 1, from * 6 / 5)) starts.push_back(from);
  return starts;
}

}  // namespace

LossProfile::LossProfile(std::int64_t sequence, at::Device device)
    : sequence_(sequence),
      sums_(at::zeros({sequence + 1 + 2 * (kLongest + 1)}, at::TensorOptions(at::kDouble).device(device))) {}

void LossProfile::add(const at::Tensor& nats, const at::Tensor& bytes) {
  CADDIE_ASSERT(nats.dim() == 2 && nats.size(1) == sequence_ && bytes.sizes() == nats.sizes());
  sums_.narrow(0, 0, sequence_).add_(nats.sum(0, /*keepdim=*/false, at::kDouble));
  sums_.narrow(0, sequence_, 1).add_(static_cast<double>(nats.size(0)));
  const at::Tensor values = nats.to(at::kDouble).reshape({-1});
  const at::Tensor length = bytes.to(at::kLong).clamp(0, kLongest).reshape({-1});
  sums_.narrow(0, sequence_ + 1, kLongest + 1).index_add_(0, length, values);
  sums_.narrow(0, sequence_ + 1 + kLongest + 1, kLongest + 1).index_add_(0, length, at::ones_like(values));
}

void LossProfile::reduce(Communicator* communicator) {
  if (communicator == nullptr || communicator->size() == 1) return;
  sums_ = sums_.cpu();
  communicator->all_reduce_sum(sums_);
}

Json LossProfile::to_json() const {
  const at::Tensor host = sums_.cpu();
  const double* values = host.const_data_ptr<double>();
  const double rows = values[sequence_];
  Json position = {{"from", Json::array()}, {"nats", Json::array()}, {"tokens", Json::array()}};
  const std::vector<std::int64_t> starts = group_starts(sequence_);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::int64_t end = i + 1 < starts.size() ? starts[i + 1] : sequence_;
    double nats = 0;
    for (std::int64_t at = starts[i]; at < end; ++at) nats += values[at];
    position["from"].push_back(starts[i]);
    position["nats"].push_back(nats);
    position["tokens"].push_back(std::llround(rows * static_cast<double>(end - starts[i])));
  }
  Json bytes = {{"length", Json::array()}, {"nats", Json::array()}, {"tokens", Json::array()}};
  const double* nats = values + sequence_ + 1;
  const double* tokens = nats + kLongest + 1;
  for (std::int64_t length = 0; length <= kLongest; ++length) {
    if (tokens[length] == 0) continue;
    bytes["length"].push_back(length);
    bytes["nats"].push_back(nats[length]);
    bytes["tokens"].push_back(std::llround(tokens[length]));
  }
  return {{"position", std::move(position)}, {"bytes", std::move(bytes)}};
}

}  // namespace caddie::eval
