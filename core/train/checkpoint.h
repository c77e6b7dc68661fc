// Checkpoints on disk: what training needs to go on, whole or not at all. A checkpoint is a folder step_<n>, written by rank
// 0 and read by all; latest.json names the last complete one and is replaced only when its file is durable.
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
  Checkpoints(std::filesystem::path folder, std::string identity, Communicator& communicator);

  // Collective; all ranks hold the same state. Makes it the latest and removes the one before. Throws Error(failed) on every
  // rank if it could not be written; the checkpoint before stays.
  void write(const StateDictionary& state, std::int64_t step);
  // Collective. The state of the latest checkpoint; empty if there is none. Throws Error(data) for a damaged one,
  // Error(failed) for one of another training, Error(environment) if some ranks see it and others do not.
  std::optional<StateDictionary> read() const;
  // Collective. After the result is safe.
  void remove();

 private:
  std::filesystem::path file_of(const std::string& name) const;
  std::int64_t count_failed(bool good) const;
  void write_file(const StateDictionary& state, const std::string& name) const;
  void remove_others(const std::string& name) const;

  std::filesystem::path folder_;
  std::string identity_;
  Communicator& communicator_;
};

}  // namespace caddie::train
