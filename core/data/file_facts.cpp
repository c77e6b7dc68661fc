#include "core/data/file_facts.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/base/interrupt.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/data/shards.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kRememberBytes = 16 << 20;  // smaller files are read faster than looked up

fs::path memory_file() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') return fs::path(cache) / "caddie" / "shards.json";
  return home == nullptr ? fs::path() : fs::path(home) / ".cache" / "caddie" / "shards.json";
}

// What a file is as long as nobody writes to it.
std::string stamp(const struct stat& info) {
  return concat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec,
                ":", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec);
}

Json load_memory() {
  try {
    const fs::path file = memory_file();
    if (!file.empty() && fs::exists(file)) {
      Json memory = read_json(file);
      if (memory.is_object()) return memory;
    }
  } catch (const std::exception&) {
    // A damaged memory is forgotten.
  }
  return Json::object();
}

void save_memory(const Json& memory) {
  try {
    const fs::path file = memory_file();
    if (file.empty()) return;
    make_directories(file.parent_path());
    write_json(file, memory);
  } catch (const std::exception& error) {
    log::debug(concat("file hashes are not remembered: ", error.what()));
  }
}

ShardFacts read_facts(const fs::path& path) {
  const Shard shard(path);
  ShardFacts facts;
  facts.sha256 = sha256_file(path);
  facts.tokens = static_cast<std::int64_t>(shard.tokens().size());
  if (facts.tokens > 0) facts.max_id = *std::max_element(shard.tokens().begin(), shard.tokens().end());
  return facts;
}

}  // namespace

std::vector<ShardFacts> shard_facts(const std::vector<fs::path>& shards, int threads) {
  std::vector<ShardFacts> facts(shards.size());
  std::vector<std::string> stamps(shards.size());
  std::vector<std::size_t> unknown;
  Json memory = load_memory();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    facts[i].tokens = check_shard(shards[i]);
    struct stat info{};
    if (::stat(shards[i].c_str(), &info) == 0 && info.st_size >= kRememberBytes) stamps[i] = stamp(info);
    const auto found = stamps[i].empty() ? memory.end() : memory.find(stamps[i]);
    if (found != memory.end() && found->is_object() && found->contains("sha256") && found->contains("max_id")) {
      facts[i].sha256 = found->at("sha256").get<std::string>();
      facts[i].max_id = found->at("max_id").get<std::int64_t>();
    } else {
      unknown.push_back(i);
    }
  }
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (std::size_t j = next++; j < unknown.size(); j = next++) {
        throw_if_interrupted();
        facts[unknown[j]] = read_facts(shards[unknown[j]]);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      next = unknown.size();
    }
  };
  std::vector<std::thread> pool;
  for (std::size_t t = 1; t < std::min<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), unknown.size());
       ++t)
    pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
  if (failure) std::rethrow_exception(failure);
  bool learned = false;
  for (const std::size_t i : unknown)
    if (!stamps[i].empty()) {
      memory[stamps[i]] = {{"sha256", facts[i].sha256}, {"max_id", facts[i].max_id}};
      learned = true;
    }
  if (learned) save_memory(memory);
  return facts;
}

}  // namespace caddie::data
