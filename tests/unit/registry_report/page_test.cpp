// Pages without a browser: well formed, of one file, escaped, with everything that a sweep has to show, and small.
#include "registry/report/page.h"

#include <cstdlib>

#include "caddie/error.h"
#include "registry/compare/compare.h"
#include "registry/report/figures.h"
#include "registry/report/markup.h"
#include "tests/support/catch.h"
#include "tests/unit/registry_report/fixture.h"

using namespace caddie;
using namespace caddie::registry::report;
using namespace caddie::report_tests;

namespace {

// Walks the tags; returns what is wrong, or an empty text.
std::string fault_of(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    if (page.compare(at, 2, "<!") == 0) continue;
    const std::size_t end = page.find('>', at);
    if (end == std::string::npos) return "a tag without an end";
    const std::string tag = page.substr(at + 1, end - at - 1);
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1))
        return "<" + tag + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
      continue;
    }
    const std::string name = tag.substr(0, tag.find_first_of(" /"));
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "an odd number of quotes in <" + tag + ">";
    if (tag.back() == '/' || name == "br") continue;
    open.push_back(name);
    if (name == "style" || name == "script") at = page.find("</" + name, at) - 1;
  }
  return open.empty() ? "" : open.back() + " stays open";
}

std::string page_of(const Scratch& scratch, const std::vector<std::string>& what) {
  return report_page(load_report(scratch.runs(), {what, "", ""}));
}

bool has(const std::string& page, const std::string& words) { return page.find(words) != std::string::npos; }

}  // namespace

TEST_CASE("text is safe in a page, whatever it holds") {
  CHECK(text("<b a=\"1\" b='2'>&") == "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;");
  CHECK(text(std::string("a\0b\x1b", 4)) ==
        "a\xef\xbf\xbd"
        "b\xef\xbf\xbd");
  CHECK(text("\xc3\xa4\xe2\x82\xac") == "\xc3\xa4\xe2\x82\xac");
  CHECK(text("\xc3(") == "\xef\xbf\xbd(");
  CHECK(text("\xff\xfe") == "\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(shortened("abcdef", 6) == "abcdef");
  CHECK(shortened("abcdefg", 6) == "abcde\xe2\x80\xa6");
  CHECK(signed_fixed(-0.00001, 3) == "0.000");
  CHECK(signed_fixed(-0.5, 1) ==
        "\xe2\x88\x92"
        "0.5");
  CHECK(fixed(std::nan(""), 3) == "-");
  CHECK(grouped(-1234567) == "-1,234,567");
}

TEST_CASE("a sweep's page is whole, stands alone and shows what there is") {
  const Scratch scratch;
  write_fake_sweep(scratch.runs(), "study", {"base", "wide", "<i>odd & \"name\"", "rounded"}, 3, 120, 3);
  const std::string page = page_of(scratch, {"study"});
  CHECK(fault_of(page) == "");
  for (const char* outside : {"http:", "https:", "src=", "@import", "url("}) {
    CAPTURE(outside);
    CHECK_FALSE(has(page, outside));
  }
  CHECK_FALSE(has(page, "<i>odd"));
  CHECK_FALSE(has(page, "<script>alert"));
  CHECK(has(page, "&lt;i&gt;odd &amp; &quot;name&quot;"));
  CHECK(has(page, "&lt;script&gt;alert(1)&lt;/script&gt;"));
  for (const char* id : {"overview", "scores", "size", "curves", "time", "tensors", "text", "manifests", "incidents"}) {
    CAPTURE(id);
    CHECK(has(page, "<section id=\"" + std::string(id) + "\">"));
    CHECK(has(page, "href=\"#" + std::string(id) + "\""));
  }
  for (const char* words :
       {"prefers-color-scheme:dark", "@media print", "width=device-width", "nats/token", "baseline</small>", "2 of 3",
        "11 of 12", "v3_s3", "position in the window", "Rounding error by layer", "limit 2,000,000 bytes",
        "a &lt;CPU&gt; &amp; more", "base +2"}) {
    CAPTURE(words);
    CHECK(has(page, words));
  }
  CHECK_FALSE(has(page, ">nan"));
  CHECK_FALSE(has(page, ">inf"));
}

TEST_CASE("differences are those of paired seeds, against the wanted baseline") {
  const Scratch scratch;
  write_fake_sweep(scratch.runs(), "study", {"base", "wide"}, 3, 30, 2, false);
  const ReportData data = load_report(scratch.runs(), {{"study"}, "", "val_bpb"});
  REQUIRE(data.groups.size() == 2);
  CHECK(data.groups[data.baseline].name == "base");
  const auto base = data.bits_per_byte(data.groups[0], "val_bpb"), wide = data.bits_per_byte(data.groups[1], "val_bpb");
  REQUIRE(base.size() == 3);
  double difference = 0;
  for (const auto& [seed, value] : base) difference += (wide.at(seed) - value) / 3;
  const std::string page = report_page(data);
  CHECK(has(page, signed_fixed(difference, 5) + " <small>["));
  CHECK(has(page, "paired t test"));
  // The figures of `caddie compare`.
  std::vector<registry::Group> groups;
  for (const ReportGroup& shown : data.groups) {
    groups.push_back({shown.name, {}, {}});
    for (const std::size_t run : shown.runs) groups.back().runs.push_back(data.runs[run].record);
  }
  const registry::Comparison comparison = registry::compare(groups, {"base", "val_bpb"});
  const registry::CompareRow& row = comparison.rows.back();
  CHECK(has(page, "[" + signed_fixed(*row.test.low, 5) + ", " + signed_fixed(*row.test.high, 5) + "]"));
  CHECK(has(page, ">" + p_text(*row.p_holm) + "</span>"));
  CHECK(has(page, *row.rule_met ? ">met</span>" : ">not met</span>"));
  const ReportData turned = load_report(scratch.runs(), {{"study"}, "wide", ""});
  CHECK(turned.groups[turned.baseline].name == "wide");
  CHECK(turned.metric == "ttt_bpb");
  CHECK_THROWS_WITH(load_report(scratch.runs(), {{"study"}, "narrow", ""}), Catch::Contains("base, wide"));
  CHECK_THROWS_WITH(load_report(scratch.runs(), {{"study"}, "", "bpb"}), Catch::Contains("sliding_bpb"));
  CHECK_THROWS_AS(load_report(scratch.runs(), {{"nothing"}, "", ""}), Error);
}

TEST_CASE("scores of another text have no difference, and another leaderboard") {
  const Scratch scratch;
  write_fake_run(scratch.runs(), {"20261124T100000Z_a_1", "a"});
  FakeRun other{"20261124T100001Z_b_1", "b"};
  other.val_bytes = 44000;
  write_fake_run(scratch.runs(), other);
  CHECK(has(page_of(scratch, {"20261124T100000Z", "20261124T100001Z"}), "other text"));
  const std::string ranked = leaderboard_page(load_report(scratch.runs(), {}));
  CHECK(fault_of(ranked) == "");
  CHECK(has(ranked, "10,000 tokens, 40,000 bytes"));
  CHECK(has(ranked, "11,000 tokens, 44,000 bytes"));
}

TEST_CASE("one run, a run that failed, and folders that are none, have pages too") {
  const Scratch scratch;
  write_fake_run(scratch.runs(), {"20261124T100000Z_a_1", "a"});
  const std::string alone = page_of(scratch, {"20261124T100000Z_a_1"});
  CHECK(fault_of(alone) == "");
  CHECK_FALSE(has(alone, "difference, bits/byte"));  // to what?
  CHECK_FALSE(has(alone, "<section id=\"size\">"));
  FakeRun failed{"20261124T100001Z_b_1", "b"};
  failed.status = "failed";
  failed.error = "out of memory";
  write_fake_run(scratch.runs(), failed);
  const std::string page = page_of(scratch, {failed.id});
  CHECK(fault_of(page) == "");
  CHECK(has(page, "out of memory"));
  make_directories(scratch.runs() / "torn");
  write_atomic(scratch.runs() / "torn" / "resolved.json", "{\"name\": ");
  const std::string all = leaderboard_page(load_report(scratch.runs(), {}));
  CHECK(fault_of(all) == "");
  CHECK(has(all, "torn"));
}

TEST_CASE("a sweep of 36 runs stays well below 2 MB") {
  const Scratch scratch;
  std::vector<std::string> variants = {"base"};
  for (int i = 1; i < 12; ++i) variants.push_back("variant_" + std::to_string(i));
  write_fake_sweep(scratch.runs(), "large", variants, 3, 500, 3);
  const std::string page = page_of(scratch, {"large"});
  CHECK(page.size() < 1200000);
  CHECK(fault_of(page) == "");
  if (const char* keep = std::getenv("CADDIE_KEEP_PAGE")) write_atomic(keep, page);  // to look at it
}

TEST_CASE("every drawing of a page is a file of its own") {
  const std::string drawing = "<svg viewBox=\"0 0 560 330\" role=\"img\" aria-label=\"Bits per byte, &lt;by&gt; bytes\">"
                              "<path class=\"grid\" d=\"M1 2\"/></svg>";
  const auto figures = figures_of("<p>" + drawing + "</p>" + drawing);
  REQUIRE(figures.size() == 2);
  CHECK(figures[0].name == "bits_per_byte_by_bytes");
  CHECK(figures[1].name == "bits_per_byte_by_bytes_2");
  CHECK(figures[0].svg.find("width=\"596\" height=\"330\" viewBox=\"-24 0 596 330\"") != std::string::npos);
  CHECK(figures[0].svg.find("<path class=\"grid\" d=\"M1 2\"/></svg>") != std::string::npos);
  CHECK(fault_of(figures[0].svg).empty());
  CHECK(figures_of("<p>no drawing</p>").empty());
}
