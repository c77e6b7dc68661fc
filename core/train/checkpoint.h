// Checkpoints on disk: what training needs to go on, whole or not at all. A checkpoint is a folder step_<n> with one file
// a rank; latest.json names the last complete one and is replaced only when all of its files are durable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "caddie/communicator.h"
#include "core/train/state.h"

namespace caddie::train {

class CADDIE_API Checkpoints {
 public:
  // `identity` tells which training the folder belongs to (a stage key): a checkpoint of another one is never taken.
  // `device`: where the communicator's tensors live.
  Checkpoints(std::filesystem::path folder, std::string identity, Communicator& communicator, at::Device device);

  // Collective. Writes this rank's state and then, once every rank has, makes it the latest and removes the one before.
  // Throws Error(failed) on every rank if a rank could not write; the checkpoint before stays.
  void write(const StateDictionary& state, std::int64_t step);
  // This rank's state of the latest checkpoint; empty if there is none. Throws Error(data) for a damaged one or for one of
  // another number of ranks, Error(failed) for one of another training.
  std::optional<StateDictionary> read() const;
  // Collective. After the result is safe.
  void remove();

 private:
  std::filesystem::path file_of(const std::string& name) const;
  void write_own(const StateDictionary& state, const std::string& name) const;
  void remove_others(const std::string& name) const;

  std::filesystem::path folder_;
  std::string identity_;
  Communicator& communicator_;
  at::Device device_;
};

}  // namespace caddie::train
