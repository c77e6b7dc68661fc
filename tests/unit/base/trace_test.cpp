// Traces: valid JSON, spans inside each other on one track, a track for each thread, and nothing while it is off.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "core/base/files.h"
#include "core/base/trace.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("caddie_trace_" + std::to_string(::getpid()));
  Folder() { make_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

Json spans_of(const Json& trace) {
  Json spans = Json::array();
  for (const Json& event : trace.at("traceEvents"))
    if (event.at("ph") == "X") spans.push_back(event);
  return spans;
}

const Json& named(const Json& spans, const std::string& name) {
  for (const Json& span : spans)
    if (span.at("name") == name) return span;
  FAIL("no span " << name);
  throw 0;
}

double end_of(const Json& span) { return span.at("ts").get<double>() + span.at("dur").get<double>(); }

}  // namespace

TEST_CASE("spans nest on their thread's track, and threads have tracks of their own") {
  const Folder folder;
  { const trace::Span before("stage", "before the start"); }
  trace::start();
  trace::name_thread("main");
  {
    const trace::Span outer("stage", std::string("train"));
    for (int step = 0; step < 3; ++step) {
      const trace::Span inner("train", "step", step);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    std::thread([] {
      trace::name_thread("loader");
      const trace::Span other("data", "a \"quoted\" slice\n");
    }).join();
  }
  trace::write(folder.path / "trace.json", {{"run", "x"}});
  { const trace::Span after("stage", "after the end"); }

  const Json trace = read_json(folder.path / "trace.json");
  CHECK(trace.at("otherData").at("run") == "x");
  CHECK(trace.at("otherData").at("time").get<std::string>().starts_with("host time"));
  const Json spans = spans_of(trace);
  REQUIRE(spans.size() == 5);
  const Json& outer = named(spans, "train");
  int steps = 0;
  for (const Json& span : spans) {
    if (span.at("name") != "step") continue;
    CHECK(span.at("args").at("number") == steps++);
    CHECK(span.at("tid") == outer.at("tid"));
    CHECK(span.at("ts").get<double>() >= outer.at("ts").get<double>());
    CHECK(end_of(span) <= end_of(outer));
    CHECK(span.at("dur").get<double>() >= 2000);  // microseconds
  }
  CHECK(steps == 3);
  const Json& other = named(spans, "a \"quoted\" slice\n");
  CHECK(other.at("tid") != outer.at("tid"));
  std::string names;
  for (const Json& event : trace.at("traceEvents"))
    if (event.at("name") == "thread_name") names += event.at("args").at("name").get<std::string>() + " ";
  CHECK(names == "main loader ");
}

TEST_CASE("a new recording holds nothing of the one before, and none has no spans") {
  const Folder folder;
  trace::start();
  { const trace::Span span("a", "first"); }
  trace::start();
  { const trace::Span span("a", "second"); }
  trace::write(folder.path / "trace.json", Json::object());
  const Json spans = spans_of(read_json(folder.path / "trace.json"));
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].at("name") == "second");
  CHECK_FALSE(trace::on());
}

TEST_CASE("what ran elsewhere has a track with its name; nothing is kept while off") {
  const Folder folder;
  trace::add_track("device 0", "kernel", {{"too early", 0, 1}});
  trace::start();
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const std::int64_t start = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  trace::add_track("device 0", "kernel", {{"product", start, 5000}, {"norm", start + 7000, 1000}});
  trace::write(folder.path / "trace.json", {});
  const Json trace = read_json(folder.path / "trace.json"), spans = spans_of(trace);
  REQUIRE(spans.size() == 2);
  CHECK(named(spans, "product").at("dur").get<double>() == Approx(5));
  CHECK(named(spans, "norm").at("ts").get<double>() - named(spans, "product").at("ts").get<double>() == Approx(7));
  bool found = false;
  for (const Json& event : trace.at("traceEvents"))
    found = found || (event.at("ph") == "M" && event.at("args").value("name", "") == "device 0");
  CHECK(found);
}
