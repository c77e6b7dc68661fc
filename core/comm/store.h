// Ranks on CPUs: sums in rank order, so that every rank has the same bits whatever the timing. The ranks of one host pass
// their tensors through shared memory; ranks of several hosts through the store that they met at, which is slow and meant
// for tests and small models. Tensors on a GPU are copied to the host and back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "caddie/communicator.h"
#include "core/comm/group.h"
#include "core/comm/shared_region.h"

namespace caddie {

class CADDIE_API StoreCommunicator final : public Communicator {
 public:
  enum class Path { best, store_only };
  // Collective. The group must outlive it and belong to the calling thread.
  explicit StoreCommunicator(Group& group, Path path = Path::best);
  ~StoreCommunicator() override;

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  // float32, float64, bfloat16, float16 (both added in float32 and rounded once), int64 and int32. Error(failed) otherwise.
  void all_reduce_sum(at::Tensor& tensor) override;
  std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor tensor) override;
  void all_gather(at::Tensor& rows) override;
  void broadcast(at::Tensor& tensor, int root) override;
  void barrier() override;

  bool shares_memory() const { return region_ != nullptr; }

 private:
  // On contiguous memory of the host.
  void reduce(const at::Tensor& tensor);
  void reduce_through_region(const at::Tensor& tensor);
  void broadcast_bytes(std::byte* data, std::size_t bytes, int root);
  std::vector<int> everyone() const;
  // One round through the store: `bytes` of each of the `givers`, this rank's own, if it gives, out of `data`.
  std::vector<std::string> exchange(const std::byte* data, std::size_t bytes, const std::vector<int>& givers);

  Group& group_;
  std::string prefix_;
  std::unique_ptr<SharedRegion> region_;
  int half_ = 0;
  std::int64_t round_ = 0;
  std::vector<std::string> own_keys_;  // given and perhaps not read by all yet
};

}  // namespace caddie
