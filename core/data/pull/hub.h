// Where the Hub is and how to talk to it, from the environment variables that its own clients know: HF_ENDPOINT,
// HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT. Private.
#pragma once

#include <filesystem>
#include <string>

namespace caddie::data {

struct Hub {
  std::string endpoint;  // without a slash at its end
  std::filesystem::path cache;
  std::string token;           // empty: none. Never written anywhere
  bool offline = false;        // the environment forbids every request
  double stall_seconds = 10;  // a transfer that brings nothing for so long is given up and tried again

  // Throws Error(usage) for a variable that makes no sense.
  static Hub from_environment();
};

}  // namespace caddie::data
