// Where the time goes, for `run --profile FILE`: named spans of host time, one track a thread, as Chrome's trace
// format (Perfetto and chrome://tracing open it). Off unless start() was called: then a span is one branch. On a GPU a
// span is the time the host took, which queues work; what the device did meanwhile comes by add_track().
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::trace {

namespace detail {
CADDIE_API extern std::atomic<bool> recording;
CADDIE_API std::int64_t now_ns();
CADDIE_API void record(const char* category, std::string name, std::int64_t number, std::int64_t start_ns);
}  // namespace detail

inline bool on() { return detail::recording.load(std::memory_order_relaxed); }

// Begins to record, without what was recorded before.
CADDIE_API void start();
// Ends recording and writes what was recorded. `about` goes into the file's metadata. Throws Error(failed) if the file
// cannot be written.
CADDIE_API void write(const std::filesystem::path& file, const Json& about);
struct Timed {
  std::string name;
  std::int64_t start_ns, duration_ns;  // the start by std::chrono::steady_clock
};
// A track of what ran elsewhere, such as kernels on a device.
CADDIE_API void add_track(const std::string& name, const char* category, std::vector<Timed> events);
// The name of this thread's track; threads without one are numbered.
CADDIE_API void name_thread(const char* name);

// From construction to destruction. `category` is a literal; `number` (a step, a chunk) is shown if it is not negative.
class Span {
 public:
  Span(const char* category, const char* name, std::int64_t number = -1)
      : category_(on() ? category : nullptr), number_(number) {
    if (category_ != nullptr) begin(name);
  }
  Span(const char* category, const std::string& name, std::int64_t n = -1) : Span(category, name.c_str(), n) {}
  ~Span() {
    if (category_ != nullptr) detail::record(category_, std::move(name_), number_, start_ns_);
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  void begin(const char* name) {
    name_ = name;
    start_ns_ = detail::now_ns();
  }
  const char* category_;
  std::int64_t number_, start_ns_ = 0;
  std::string name_;
};

}  // namespace caddie::trace
