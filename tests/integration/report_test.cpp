// caddie report as a person uses it: the page in a browser without a window, wide and bright, narrow and dark: nothing
// on the console, everything there, and not blank. Skips the browser where there is no Chromium.
#include <algorithm>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"
#include "tests/unit/registry_report/fixture.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

std::string find_browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    const Outcome found = Process({"bash", "-c", std::string("command -v ") + name}, {}).wait(10);
    if (found.exit_code == 0) return found.out.substr(0, found.out.find('\n'));
  }
  return {};
}

class Browser {
 public:
  Browser(std::string program, fs::path page, fs::path folder)
      : program_(std::move(program)), page_(std::move(page)), folder_(std::move(folder)) {}

  Outcome run(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {program_,
                                          "--headless",
                                          "--no-sandbox",
                                          "--disable-gpu",
                                          "--no-first-run",
                                          "--disable-background-networking",
                                          "--disable-dev-shm-usage",
                                          "--hide-scrollbars",
                                          "--enable-logging=stderr",
                                          "--user-data-dir=" + (folder_ / "profile").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.push_back("file://" + page_.string());
    return Process(arguments, {}).wait(200);
  }

  // {"width", "height", "corner": [r, g, b], "rows": different rows} of a screenshot.
  Json screenshot(int width, int height, bool dark) const {
    const fs::path file = folder_ / "page.png";
    fs::remove(file);
    std::vector<std::string> arguments = {"--screenshot=" + file.string(),
                                          "--window-size=" + std::to_string(width) + "," + std::to_string(height)};
    if (dark) arguments.push_back("--blink-settings=preferredColorScheme=0");
    const Outcome taken = run(arguments);
    INFO(taken.err);
    REQUIRE(fs::exists(file));
    // The first pixel of a PNG is itself whatever the filter, and rows that are alike are alike when filtered.
    const Outcome read = Process({"python3", "-c", R"py(
import json, struct, sys, zlib
data, at, packed = open(sys.argv[1], "rb").read(), 8, b""
while at < len(data):
    length, kind = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + length]
    if kind == b"IHDR": width, height, depth, color = struct.unpack(">IIBB", body[:10])
    if kind == b"IDAT": packed += body
    at += 12 + length
channels = {2: 3, 6: 4}[color]
raw, stride = zlib.decompress(packed), 1 + width * channels
rows = {raw[i * stride:(i + 1) * stride] for i in range(height)}
print(json.dumps({"width": width, "height": height, "corner": list(raw[1:4]), "rows": len(rows)}))
)py",
                                  file.string()},
                                 {})
                             .wait(60);
    INFO(read.err);
    return result_of(read);
  }

 private:
  std::string program_;
  fs::path page_, folder_;
};

}  // namespace

TEST_CASE("a sweep's report is a page that a browser shows") {
  const Workplace place;
  report_tests::write_fake_sweep(place.runs(), "study", {"base", "wide", "rounded", "<b>odd</b>"}, 3, 80, 3);
  const fs::path page = place.path() / "report.html";
  const Outcome made = place.caddie({"report", "study", "-o", page.string()});
  INFO(made.err);
  REQUIRE(made.exit_code == 0);
  const Json facts = result_of(made);
  CHECK(facts.at("runs") == 12);
  CHECK(facts.at("incidents") == 1);
  CHECK(facts.at("bytes") == fs::file_size(page));

  const std::string program = find_browser();
  if (program.empty()) {
    SKIP_TEST("no chromium to look at the page with");
  }
  const Browser browser(program, page, place.path());
  const Outcome dom = browser.run({"--dump-dom"});
  INFO(dom.err);
  REQUIRE(dom.exit_code == 0);
  CHECK(dom.err.find("CONSOLE") == std::string::npos);  // neither errors nor warnings
  for (const char* there :
       {"id=\"scores\"", "id=\"size\"", "id=\"curves\"", "id=\"time\"", "id=\"tensors\"", "id=\"text\"",
        "id=\"manifests\"", "id=\"incidents\"", "<table class=\"sortable\">", "<svg", "&lt;b&gt;odd&lt;/b&gt;"}) {
    CAPTURE(there);
    CHECK(dom.out.find(there) != std::string::npos);
  }
  const Json wide = browser.screenshot(1200, 2400, false);
  CHECK(wide.at("corner") == Json{255, 255, 255});
  CHECK(wide.at("rows").get<int>() > 500);
  const Json narrow = browser.screenshot(500, 2400, true);
  CHECK(narrow.at("corner") == Json{0x14, 0x17, 0x1b});
  CHECK(narrow.at("rows").get<int>() > 500);
}

TEST_CASE("runs become a leaderboard and a table, and wrong names are told") {
  const Workplace place;
  report_tests::write_fake_sweep(place.runs(), "study", {"base", "wide"}, 2, 10, 2, false);
  const fs::path page = place.path() / "all.html";
  CHECK(place.caddie({"report", "--leaderboard", "-o", page.string()}).exit_code == 0);
  CHECK(read_text(page).find("Leaderboard") != std::string::npos);
  const Outcome table = place.caddie({"export", "json", "study"});
  REQUIRE(table.exit_code == 0);
  CHECK(result_of(table).size() > 50);
  const fs::path csv = place.path() / "all.csv";
  CHECK(place.caddie({"export", "csv", "--steps", "-o", csv.string()}).exit_code == 0);
  CHECK(read_text(csv).starts_with("sweep,variant,"));
  CHECK(place.caddie({"report"}).exit_code == 2);
  CHECK(place.caddie({"report", "nothing"}).exit_code == 2);
  CHECK(place.caddie({"export", "xlsx"}).exit_code == 2);
  CHECK(place.caddie({"report", "study", "--baseline", "narrow", "-o", page.string()}).err.find("base, wide") !=
        std::string::npos);
}
