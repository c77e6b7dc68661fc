#include "core/comm/store.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace caddie {
namespace {

constexpr std::size_t kSlotBytes = std::size_t{1} << 20;  // eight ranks stay below the 64 MB that containers give
constexpr std::size_t kSmallBytes = std::size_t{64} << 10;  // below it every rank adds everything: one barrier less
constexpr std::size_t kStoreChunk = std::size_t{4} << 20;
constexpr std::int64_t kRoundsBetweenBarriers = 64;

std::byte* bytes_of(const at::Tensor& tensor) { return static_cast<std::byte*>(tensor.mutable_data_ptr()); }

at::Tensor view_of(const void* data, std::int64_t count, at::ScalarType type) {
  return at::from_blob(const_cast<void*>(data), {count}, at::TensorOptions().dtype(type));
}

// The sum of equally long parts in their order into `out`; out may be one of the parts.
void add_in_order(const std::vector<const std::byte*>& parts, std::byte* out, std::int64_t count, at::ScalarType type) {
  const bool half = type == at::kBFloat16 || type == at::kHalf;
  at::Tensor sum = view_of(parts[0], count, type);
  sum = half ? sum.to(at::kFloat) : sum.clone();
  for (std::size_t i = 1; i < parts.size(); ++i) sum.add_(view_of(parts[i], count, type));
  view_of(out, count, type).copy_(sum);
}

void check_type(const at::Tensor& tensor) {
  const at::ScalarType type = tensor.scalar_type();
  const bool known = type == at::kFloat || type == at::kDouble || type == at::kBFloat16 || type == at::kHalf || type == at::kLong || type == at::kInt;
  CADDIE_CHECK(known, ErrorKind::failed, "ranks cannot add tensors of type ", c10::toString(type));
}

// Runs `body` on a contiguous copy on the host where the tensor is not that itself.
template <class Body>
void on_host(at::Tensor& tensor, Body body) {
  const at::NoGradGuard guard;
  if (tensor.numel() == 0) return;
  if (tensor.is_cpu() && tensor.is_contiguous()) {
    body(tensor);
    return;
  }
  const at::Tensor host = tensor.to(at::kCPU).contiguous();
  body(host);
  tensor.copy_(host);
}

}  // namespace

StoreCommunicator::StoreCommunicator(Group& group, Path path) : group_(group), prefix_(group.unique("data")) {
  if (path == Path::best) region_ = SharedRegion::open(group, kSlotBytes);
}

StoreCommunicator::~StoreCommunicator() = default;

void StoreCommunicator::all_reduce_sum(at::Tensor& tensor) {
  check_type(tensor);
  on_host(tensor, [&](const at::Tensor& host) { region_ ? reduce_through_region(host) : reduce(host); });
}

std::unique_ptr<PendingOperation> StoreCommunicator::start_all_reduce_sum(at::Tensor tensor) {
  all_reduce_sum(tensor);
  return nullptr;
}

void StoreCommunicator::reduce_through_region(const at::Tensor& tensor) {
  const auto width = static_cast<std::int64_t>(tensor.element_size());
  const std::int64_t chunk = static_cast<std::int64_t>(kSlotBytes) / width, ranks = size();
  for (std::int64_t first = 0; first < tensor.numel(); first += chunk) {
    const std::int64_t count = std::min(chunk, tensor.numel() - first);
    std::byte* data = bytes_of(tensor) + first * width;
    const auto bytes = static_cast<std::size_t>(count * width);
    half_ ^= 1;
    std::memcpy(region_->slot(rank(), half_), data, bytes);
    region_->barrier(group_);
    const bool small = bytes <= kSmallBytes;
    // Each rank adds a part for all, or all for itself.
    const std::int64_t from = small ? 0 : count * rank() / ranks, to = small ? count : count * (rank() + 1) / ranks;
    std::vector<const std::byte*> parts;
    for (int other = 0; other < size(); ++other) parts.push_back(region_->slot(other, half_) + from * width);
    add_in_order(parts, small ? data : region_->result(half_) + from * width, to - from, tensor.scalar_type());
    if (small) continue;
    region_->barrier(group_);
    std::memcpy(data, region_->result(half_), bytes);
  }
}

void StoreCommunicator::reduce(const at::Tensor& tensor) {
  const auto width = static_cast<std::int64_t>(tensor.element_size());
  const std::int64_t chunk = static_cast<std::int64_t>(kStoreChunk) / width;
  for (std::int64_t first = 0; first < tensor.numel(); first += chunk) {
    const std::int64_t count = std::min(chunk, tensor.numel() - first);
    std::byte* data = bytes_of(tensor) + first * width;
    const auto given = exchange(data, static_cast<std::size_t>(count * width), everyone());
    std::vector<const std::byte*> parts;
    for (const std::string& part : given) parts.push_back(reinterpret_cast<const std::byte*>(part.data()));
    add_in_order(parts, data, count, tensor.scalar_type());
  }
}

void StoreCommunicator::all_gather(at::Tensor& rows) {
  CADDIE_CHECK(rows.dim() >= 1 && rows.size(0) == size(), ErrorKind::failed, "rows of ", size(), " ranks are to be gathered into ", rows.sizes());
  on_host(rows, [&](const at::Tensor& host) {
    const auto bytes = static_cast<std::size_t>(host.nbytes()) / static_cast<std::size_t>(size());
    if (!region_) {
      for (int root = 0; root < size(); ++root) broadcast_bytes(bytes_of(host) + bytes * static_cast<std::size_t>(root), bytes, root);
      return;
    }
    for (std::size_t first = 0; first < bytes; first += kSlotBytes) {
      const std::size_t count = std::min(kSlotBytes, bytes - first);
      const auto place = [&](int other) { return bytes_of(host) + bytes * static_cast<std::size_t>(other) + first; };
      half_ ^= 1;
      std::memcpy(region_->slot(rank(), half_), place(rank()), count);
      region_->barrier(group_);
      for (int other = 0; other < size(); ++other)
        if (other != rank()) std::memcpy(place(other), region_->slot(other, half_), count);
    }
  });
}

void StoreCommunicator::broadcast(at::Tensor& tensor, int root) {
  CADDIE_CHECK(root >= 0 && root < size(), ErrorKind::failed, "rank ", root, " is to broadcast, the run has ", size());
  on_host(tensor, [&](const at::Tensor& host) { broadcast_bytes(bytes_of(host), host.nbytes(), root); });
}

void StoreCommunicator::broadcast_bytes(std::byte* data, std::size_t bytes, int root) {
  const std::size_t chunk = region_ ? kSlotBytes : kStoreChunk;
  for (std::size_t first = 0; first < bytes; first += chunk) {
    const std::size_t count = std::min(chunk, bytes - first);
    if (region_) {
      half_ ^= 1;
      if (rank() == root) std::memcpy(region_->slot(root, half_), data + first, count);
      region_->barrier(group_);
      if (rank() != root) std::memcpy(data + first, region_->slot(root, half_), count);
    } else {
      const auto given = exchange(data + first, count, {root});
      if (rank() != root) std::memcpy(data + first, given[0].data(), count);
    }
  }
}

void StoreCommunicator::barrier() {
  if (region_) return region_->barrier(group_);
  const std::byte sign{};
  exchange(&sign, 1, everyone());
}

std::vector<int> StoreCommunicator::everyone() const {
  std::vector<int> all(static_cast<std::size_t>(size()));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

std::vector<std::string> StoreCommunicator::exchange(const std::byte* data, std::size_t bytes, const std::vector<int>& givers) {
  const auto key = [&](int giver) { return concat(prefix_, "/", round_, "/", giver); };
  std::vector<std::string> before;
  std::swap(before, own_keys_);
  if (std::find(givers.begin(), givers.end(), rank()) != givers.end()) {
    group_.store().set(key(rank()), std::string_view(reinterpret_cast<const char*>(data), bytes));
    own_keys_.push_back(key(rank()));
  }
  std::vector<std::string> given;
  for (int giver : givers) {
    given.push_back(giver == rank() ? std::string(reinterpret_cast<const char*>(data), bytes)
                                                       : group_.wait_for(key(giver), group_.settings().operation_seconds, concat("rank ", giver)));
    CADDIE_CHECK(given.back().size() == bytes, ErrorKind::failed, "rank ", giver, " gave ", given.back().size(), " bytes, rank ", rank(), " ",
                 bytes, ": the ranks do not do the same");
  }
  ++round_;
  // Whoever gave in this round has read everything before it: once all have, older values can go.
  if (static_cast<int>(givers.size()) == size())
    for (const std::string& old : before) group_.store().remove(old);
  else
    own_keys_.insert(own_keys_.end(), before.begin(), before.end());
  if (round_ % kRoundsBetweenBarriers == 0 && static_cast<int>(givers.size()) != size()) barrier();
  return given;
}

}  // namespace caddie
