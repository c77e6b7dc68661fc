// How often a request is tried again, and how long to wait before: as long as the server asks for, else longer each
// time. Answers that will not change are errors at once. Private.
#pragma once

#include <functional>
#include <string>

#include "core/data/pull/http.h"

namespace caddie::data {

class Patience {
 public:
  // `what` is requested ("fineweb_val_000000.bin of owner/name"), for messages. `stop` ends a wait.
  Patience(std::string what, std::function<bool()> stop) : what_(std::move(what)), stop_(std::move(stop)) {}
  // New bytes came: failures before them are forgotten.
  void progress() { failures_ = 0; }
  // After an answer that was no success: waits, or throws Error(data) (it is not there, may not be had, or failed too
  // often) or Error(interrupted).
  void wait(const HttpResponse& answer);

 private:
  std::string what_;
  std::function<bool()> stop_;
  int failures_ = 0;
};

// "404 Not Found: RepoNotFound: ..." of an answer, or its failure.
std::string describe(const HttpResponse& answer);

}  // namespace caddie::data
