// The long table: a row for each run and figure, and CSV that reads back.
#include "registry/report/export.h"

#include "tests/support/catch.h"
#include "tests/unit/registry_report/fixture.h"

using namespace caddie;
using namespace caddie::registry::report;
using namespace caddie::report_tests;

TEST_CASE("runs become rows, with steps on request") {
  const Scratch scratch;
  write_fake_sweep(scratch.runs(), "study", {"base", "a, \"b\""}, 2, 10, 2, false);
  const ReportData data = load_report(scratch.runs(), {{"study"}, "", ""});
  const Json table = long_table(data, false);
  std::size_t scores = 0;
  for (const Json& row : table) {
    CHECK(row.size() == 11);
    CHECK(row.at("kind") != "step");
    if (row.at("kind") != "score" || row.at("metric") != "ttt_bpb") continue;
    ++scores;
    CHECK(row.at("unit") == "bits/byte");
    CHECK(row.at("step").is_null());
    CHECK(row.at("sweep") == "20261124T100000Z_study_0123abcd");
  }
  CHECK(scores == 4);
  CHECK(long_table(data, true).size() == table.size() + 4 * 10 * 3);

  const std::string csv = as_csv(table);
  CHECK(csv.starts_with("sweep,variant,name,seed,run,status,kind,metric,step,value,unit\r\n"));
  CHECK(csv.find(",\"a, \"\"b\"\"\",") != std::string::npos);
  std::size_t lines = 0;
  for (const char c : csv) lines += c == '\n' ? 1 : 0;
  CHECK(lines == table.size() + 1);
}
