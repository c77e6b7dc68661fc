// Axes, labels and drawings: ticks that people read, labels that do not lie on each other, points where they belong.
#include "registry/report/plot.h"

#include <cmath>
#include <limits>

#include "registry/report/scale.h"
#include "tests/support/catch.h"

using namespace caddie::registry::report;

namespace {
std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}
}  // namespace

TEST_CASE("ticks are round and cover the data") {
  const Scale scale(1.987, 2.061, false, 0, 100, 5);
  CHECK(scale.ticks().front() <= 1.987);
  CHECK(scale.ticks().back() >= 2.061);
  CHECK(scale.tick_text(scale.ticks().front()) == "1.98");
  CHECK(scale(scale.low()) == Approx(0));
  CHECK(scale(scale.high()) == Approx(100));
  CHECK(Scale(0, 1000, false, 0, 1, 5).tick_text(200) == "200");
  CHECK(Scale(0, 0.005, false, 0, 1, 5).tick_text(0.001) == "0.001");
  CHECK(Scale(-0.02, 0.02, false, 0, 1, 5).tick_text(0) == "0");
  const Scale log(1, 2000, true, 0, 1, 5);
  CHECK(log.ticks() == std::vector<double>{1, 10, 100, 1000});
  CHECK(log(std::sqrt(2000.0)) == Approx(0.5));
  const Scale flat(3, 3, false, 0, 1, 5);  // one value has an axis too
  CHECK(flat.low() < 3);
  CHECK(flat.high() > 3);
}

TEST_CASE("labels keep their distance and their order, and stay inside") {
  const auto places = spread({10, 11, 12, 90, 99}, 10, 0, 100);
  for (std::size_t i = 1; i < places.size(); ++i) CHECK(places[i] - places[i - 1] >= 10 - 1e-9);
  CHECK(places.front() >= 0);
  CHECK(places.back() <= 100);
  CHECK(spread({5, 50}, 10, 0, 100) == std::vector<double>{5, 50});
}

TEST_CASE("thinned curves are means of neighbours") {
  std::vector<std::pair<double, double>> points;
  for (int i = 0; i < 1000; ++i) points.emplace_back(i, 2.0 * i);
  const auto few = thinned(points, 10);
  REQUIRE(few.size() == 10);
  CHECK(few.front().first == Approx(49.5));
  CHECK(few.back().second == Approx(2 * 949.5));
  CHECK(thinned(points, 5000).size() == 1000);
}

TEST_CASE("what is not finite is not drawn, and nothing gives no drawing") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const CurvePlot plot{
      "a <title>", {"x", true}, {"y, nats", false}, {{"a & b", {{1, 2}, {nan, 3}, {0, 3}, {10, 4}}, 0, true, ""}}};
  const std::string svg = draw(plot);
  CHECK(count(svg, "<circle") == 2);  // 0 has no place on a logarithmic axis
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("a &lt;title&gt;") != std::string::npos);
  CHECK(svg.find(">a &amp; b</text>") != std::string::npos);
  CHECK(svg.find("y, nats") != std::string::npos);
  CHECK(draw(CurvePlot{"t", {}, {}, {{"a", {{nan, nan}}, 0, false, ""}}}).empty());
  CHECK(draw(DotPlot{}).empty());
  CHECK(draw(BarPlot{"t", "s", {"a"}, {{"row", {0}, ""}}}).empty());
  CHECK(draw(IntervalPlot{}).empty());
}

TEST_CASE("dots, bars and intervals are as many as the data") {
  DotPlot dots{"t", {"MB"}, {"bits"}, {}, {{1, 3}, {2, 2}}, 2.2, "limit"};
  for (int i = 0; i < 6; ++i)
    dots.dots.push_back({"d" + std::to_string(i), 1.0 + i * 0.1, 2.0 + i * 0.01, 1.99, 2.08, i, ""});
  const std::string svg = draw(dots);
  CHECK(count(svg, "<circle") == 6);
  CHECK(count(svg, "class=\"limit\"") == 1);
  CHECK(count(svg, "class=\"front\"") == 1);
  dots.limit = 100;  // far away: it would press the dots into a corner
  CHECK(count(draw(dots), "class=\"limit\"") == 0);
  const std::string bars = draw(BarPlot{"t", "seconds", {"train", "ttt"}, {{"a", {1, 2}, "3 s"}, {"b", {2, 0}, ""}}});
  CHECK(count(bars, "height=\"16\"") == 3);
  const std::string intervals =
      draw(IntervalPlot{"t", {"bits"}, {{"a", 0.1, 0.0, 0.2, 1, "p 0.01"}, {"b", -0.1, {}, {}, 2, ""}}});
  CHECK(count(intervals, "<circle") == 2);
  CHECK(count(intervals, "class=\"zero\"") == 1);
}
