#include "core/base/trace.h"

#include <unistd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/base/files.h"

namespace caddie::trace {
namespace detail {
std::atomic<bool> recording{false};

std::int64_t now_ns() {
  using std::chrono::steady_clock, std::chrono::nanoseconds;
  return std::chrono::duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}
}  // namespace detail

namespace {

// A trace of more is of no use in a viewer: what comes later is counted only.
constexpr std::size_t kMostSpansPerThread = 1000000;

struct Event {
  const char* category;
  std::string name;
  std::int64_t number, start_ns, duration_ns;
};

// One thread's spans. Its lock is taken by its own thread, and by write().
struct Track {
  std::mutex mutex;
  std::string name;
  std::vector<Event> events;
  std::int64_t dropped = 0;
};

struct Tracks {
  std::mutex mutex;
  std::vector<std::shared_ptr<Track>> all;  // those of threads that ended too
  std::int64_t start_ns = 0;
};

Tracks& tracks() {
  static Tracks instance;
  return instance;
}

Track& own_track() {
  thread_local const std::shared_ptr<Track> own = [] {
    auto track = std::make_shared<Track>();
    const std::lock_guard lock(tracks().mutex);
    tracks().all.push_back(track);
    return track;
  }();
  return *own;
}

double microseconds(std::int64_t ns) { return static_cast<double>(ns) / 1000; }

// Appends a track's spans; they are not kept.
void take(Track& track, std::int64_t start_ns, int number, int process, Json& events, std::int64_t& dropped) {
  const std::lock_guard lock(track.mutex);
  if (track.events.empty()) return;
  const std::string name = track.name.empty() ? "thread " + std::to_string(number) : track.name;
  events.push_back({{"ph", "M"}, {"name", "thread_name"}, {"pid", process}, {"tid", number}});
  events.back()["args"] = {{"name", name}};
  for (const Event& event : track.events) {
    Json span = {{"ph", "X"}, {"cat", event.category}, {"name", event.name}, {"pid", process}, {"tid", number},
                 {"ts", microseconds(event.start_ns - start_ns)}, {"dur", microseconds(event.duration_ns)}};
    if (event.number >= 0) span["args"] = {{"number", event.number}};
    events.push_back(std::move(span));
  }
  dropped += std::exchange(track.dropped, 0);
  track.events.clear();
}

}  // namespace

void detail::record(const char* category, std::string name, std::int64_t number, std::int64_t start_ns) {
  const std::int64_t end_ns = now_ns();
  Track& track = own_track();
  const std::lock_guard lock(track.mutex);
  if (track.events.size() >= kMostSpansPerThread)
    ++track.dropped;
  else
    track.events.push_back({category, std::move(name), number, start_ns, end_ns - start_ns});
}

void name_thread(const char* name) {
  if (!on()) return;
  Track& track = own_track();
  const std::lock_guard lock(track.mutex);
  track.name = name;
}

void add_track(const std::string& name, const char* category, std::vector<Timed> events) {
  if (!on()) return;
  auto track = std::make_shared<Track>();
  track->name = name;
  for (Timed& event : events) track->events.push_back({category, std::move(event.name), -1, event.start_ns, event.duration_ns});
  const std::lock_guard lock(tracks().mutex);
  tracks().all.push_back(std::move(track));
}

void start() {
  Tracks& all = tracks();
  const std::lock_guard lock(all.mutex);
  for (const auto& track : all.all) {
    const std::lock_guard own(track->mutex);
    track->events.clear();
    track->dropped = 0;
  }
  all.start_ns = detail::now_ns();
  detail::recording.store(true);
}

void write(const std::filesystem::path& file, const Json& about) {
  detail::recording.store(false);
  Tracks& all = tracks();
  const std::lock_guard lock(all.mutex);
  const int process = static_cast<int>(::getpid());
  Json events = Json::array();
  events.push_back({{"ph", "M"}, {"name", "process_name"}, {"pid", process}, {"tid", 0},
                    {"args", {{"name", "caddie"}}}});
  std::int64_t dropped = 0;
  int number = 0;
  for (const auto& track : all.all) take(*track, all.start_ns, ++number, process, events, dropped);
  Json metadata = about;
  metadata["time"] = "host time; on a GPU a span is the time to queue its work; the kernels of three training steps have tracks of their own";
  if (dropped > 0) metadata["spans_dropped"] = dropped;
  const Json whole = {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}, {"otherData", metadata}};
  write_atomic(file, canonical(whole) + "\n");
}

}  // namespace caddie::trace
