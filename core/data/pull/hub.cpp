#include "core/data/pull/hub.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie::data {
namespace fs = std::filesystem;
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool says_yes(const char* name) {
  std::string value = variable(name);
  std::transform(value.begin(), value.end(), value.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path expanded(const std::string& path) {
  if (path == "~" || path.starts_with("~/")) return fs::path(variable("HOME")) / path.substr(std::min<std::size_t>(2, path.size()));
  return path;
}

fs::path home() {
  if (const std::string given = variable("HF_HOME"); !given.empty()) return expanded(given);
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return expanded(cache) / "huggingface";
  return fs::path(variable("HOME")) / ".cache" / "huggingface";
}

std::string stripped(std::string text) {
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && space(text.back())) text.pop_back();
  while (!text.empty() && space(text.front())) text.erase(text.begin());
  return text;
}

std::string find_token() {
  if (says_yes("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return {};
  if (const std::string token = stripped(variable("HF_TOKEN")); !token.empty()) return token;
  const std::string given = variable("HF_TOKEN_PATH");
  const fs::path file = given.empty() ? home() / "token" : expanded(given);
  std::error_code code;
  return fs::is_regular_file(file, code) ? stripped(read_text(file)) : std::string();
}

}  // namespace

Hub Hub::from_environment() {
  Hub hub;
  hub.endpoint = variable("HF_ENDPOINT");
  if (hub.endpoint.empty()) hub.endpoint = "https://huggingface.co";
  while (hub.endpoint.ends_with('/')) hub.endpoint.pop_back();
  CADDIE_CHECK(hub.endpoint.starts_with("http://") || hub.endpoint.starts_with("https://"), ErrorKind::usage,
               "HF_ENDPOINT is '", hub.endpoint, "', accepted: an http:// or https:// address");
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (hub.cache.empty()) hub.cache = expanded(variable(name));
  if (hub.cache.empty()) hub.cache = home() / "hub";
  hub.token = find_token();
  hub.offline = says_yes("HF_HUB_OFFLINE") || says_yes("TRANSFORMERS_OFFLINE");
  if (const std::string seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT"); !seconds.empty()) {
    char* end = nullptr;
    hub.stall_seconds = std::strtod(seconds.c_str(), &end);
    CADDIE_CHECK(*end == '\0' && hub.stall_seconds > 0 && hub.stall_seconds < 1e6, ErrorKind::usage,
                 "HF_HUB_DOWNLOAD_TIMEOUT is '", seconds, "', accepted: seconds above 0");
  }
  return hub;
}

}  // namespace caddie::data
