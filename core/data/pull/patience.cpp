#include "core/data/pull/patience.h"

#include <curl/curl.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <thread>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"

namespace caddie::data {
namespace {

constexpr int kMostFailures = 5;  // in a row, without a new byte
constexpr double kLongestWait = 600;

// Seconds that the server asks to wait: `Retry-After` (seconds or a date), or the Hub's `ratelimit: "api";r=0;t=55`.
std::optional<double> asked_for(const HttpResponse& answer) {
  const std::string limit = answer.header("ratelimit"), after = answer.header("retry-after");
  if (const std::size_t at = limit.find(";t="); at != std::string::npos)
    return std::max(0.0, std::strtod(limit.c_str() + at + 3, nullptr)) + 1;
  if (after.empty()) return std::nullopt;
  char* end = nullptr;
  const double seconds = std::strtod(after.c_str(), &end);
  if (end != after.c_str() && *end == '\0') return std::max(0.0, seconds);
  const std::time_t date = curl_getdate(after.c_str(), nullptr);
  if (date < 0) return std::nullopt;
  return std::max(0.0, static_cast<double>(date - std::time(nullptr)));
}

bool may_change(const HttpResponse& answer) {
  if (!answer.failure.empty()) return !answer.lost;
  switch (answer.status) {
    case 408: case 416: case 425: case 429: case 500: case 502: case 503: case 504: return true;
    // A signed address ran out: the Hub gives a new one.
    case 401: case 403: return answer.redirected;
    default: return answer.status >= 200 && answer.status < 300;
  }
}

std::string hint_for(const HttpResponse& answer) {
  const std::string code = answer.header("x-error-code");
  if (answer.untrusted)
    return "Certificates of authorities that this system does not know are named with CURL_CA_BUNDLE=FILE or "
           "SSL_CERT_FILE=FILE.";
  if (code == "GatedRepo") return "Its owner grants access: ask for it on the repository's page, and set HF_TOKEN.";
  if (answer.status == 401 || answer.status == 403)
    return "It may be private or not exist: check the name, and set HF_TOKEN if it needs one.";
  if (code == "RevisionNotFound") return "Check the revision behind @.";
  if (answer.status == 404) return "Check the name of the dataset and HF_ENDPOINT.";
  if (answer.status == 407) return "The proxy wants a name and a password: https_proxy=http://NAME:PASSWORD@HOST:PORT.";
  return "Check the network, https_proxy and HF_ENDPOINT. The same command goes on where it stopped.";
}

}  // namespace

std::string describe(const HttpResponse& answer) {
  std::string text;
  if (answer.status != 0) text = concat("HTTP status ", answer.status);
  for (const char* name : {"x-error-code", "x-error-message"})
    if (const std::string value = answer.header(name); !value.empty()) text += ": " + value;
  if (!answer.failure.empty()) text += (text.empty() ? "" : ", then ") + answer.failure;
  if (const std::string id = answer.header("x-request-id"); !id.empty()) text += " (request " + id + ")";
  return text.empty() ? "no answer" : text;
}

void Patience::wait(const HttpResponse& answer) {
  ++failures_;
  const std::optional<double> asked = asked_for(answer);
  const bool too_long = asked && *asked > kLongestWait;
  if (!may_change(answer) || failures_ > kMostFailures || too_long)
    throw Error(ErrorKind::data,
                concat("cannot get ", what_, ": ", describe(answer),
                       too_long ? concat("; the server asks to wait ", *asked, " s")
                                : failures_ > kMostFailures ? concat(", ", failures_, " times in a row") : ""),
                hint_for(answer));
  const double seconds = asked.value_or(std::min(30.0, 0.25 * std::pow(2.0, failures_ - 1)));
  log::write(seconds > 2 ? LogLevel::info : LogLevel::debug,
             concat(what_, ": ", describe(answer), "; trying again in ", human_seconds(seconds)));
  for (const Stopwatch watch; watch.seconds() < seconds;) {
    if (interrupted() || (stop_ && stop_())) throw Error(ErrorKind::interrupted, "the download was interrupted");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace caddie::data
