// One file from the Hub to the cache: resumed where an attempt before stopped, checked against size and hash, and put
// under its name at once when it is complete. Private.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "core/data/pull/http.h"
#include "core/data/pull/hub.h"
#include "core/data/pull/repository.h"

namespace caddie::data {

struct Download {
  std::string url;
  RemoteFile file;
  std::filesystem::path place;          // final
  std::string what;                     // for messages
  std::atomic<std::int64_t>* received;  // bytes of all downloads so far, for progress
  std::function<bool()> stop;           // another download failed
};

// Throws Error(data) for what the server does, Error(failed) for what the disk does, Error(interrupted). What came so
// far is kept beside `place` then, under a name with the hash that it will have.
void download(HttpClient& client, const Hub& hub, const Download& job);

}  // namespace caddie::data
