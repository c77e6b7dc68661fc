// SHA-256, token count and largest id of shards, remembered per user by device, inode, size and time of change:
// a 16 GB dataset is read once, not at every run. Private to the room.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace caddie::data {

struct ShardFacts {
  std::string sha256;
  std::int64_t tokens = 0;
  std::int64_t max_id = -1;  // of an empty shard -1
};

// Checks each shard's header and reads those that are not remembered, on `threads` threads.
std::vector<ShardFacts> shard_facts(const std::vector<std::filesystem::path>& shards, int threads);

}  // namespace caddie::data
