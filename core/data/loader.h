// Batches of training tokens out of shards, in the order that the manifest asks for (order.h), prepared ahead by a
// background thread; on a GPU from pinned memory. A step is cut into slices (train.micro_batches), and its data depends
// on them alone, not on the number of ranks. Reference section 1.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "caddie/export.h"
#include "core/base/batch_source.h"
#include "core/data/order.h"

namespace caddie::data {

struct LoaderSettings {
  std::vector<std::filesystem::path> shards;
  std::int64_t sequence = 0;
  std::int64_t tokens_per_step = 0;
  // Slices of a step over all ranks (train.micro_batches): the data does not depend on the world size, which divides
  // it.
  std::int64_t micro_batches = 1;
  int rank = 0, world = 1;
  std::int64_t vocabulary = 0;  // ids at or above it are an Error(data) naming shard and position; 0: not checked
  at::Device device = at::kCPU;
  int ahead = 4;  // batches prepared in advance; 0: made when asked for
  OrderKind order = OrderKind::sequential;
  std::uint64_t seed = 0;  // of orders that are random
  std::int32_t bos = 1;    // what documents begin with, for order packed
};

class CADDIE_API Loader : public BatchSource {
 public:
  // Throws Error(usage) for a step that cannot be dealt out, Error(data) for shards that are too short.
  explicit Loader(LoaderSettings settings);
  ~Loader() override;

  // This rank's next slice: inputs and targets int64 [L / sequence, sequence] on the device. Slice i of a step belongs
  // to rank i mod world; a rank calls it micro_batches / world times a step.
  Batch next() override;
  // The position after the last batch that next() returned. It does not depend on rank and world size.
  void save(StateWriter& writer) const override;
  void load(const StateReader& reader) override;

  std::int64_t tokens() const;  // of all shards

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace caddie::data
