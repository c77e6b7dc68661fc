// caddie report, caddie export: runs and sweeps as a page, and as a table.
#include <filesystem>
#include <memory>

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/report/export.h"
#include "registry/report/figures.h"
#include "registry/report/page.h"
#include "tools/cli/command.h"

namespace caddie::cli {
namespace {
namespace fs = std::filesystem;
using namespace registry::report;

struct ReportArguments {
  ReportWanted wanted;
  std::string output = "report.html", figures;
  bool leaderboard = false;
};

int report(const Globals& globals, const ReportArguments& arguments) {
  if (arguments.wanted.what.empty() && !arguments.leaderboard)
    throw Error(
        ErrorKind::usage, "a report needs a sweep or runs",
        "caddie report SWEEP, caddie report RUN RUN ..., or --leaderboard for all runs; caddie runs list shows them.");
  const ReportData data = load_report(globals.runs, arguments.wanted);
  const std::string page = arguments.leaderboard ? leaderboard_page(data) : report_page(data);
  write_atomic(arguments.output, page);
  Json figures = Json::array();
  if (!arguments.figures.empty()) {
    make_directories(arguments.figures);
    for (const Figure& figure : figures_of(page)) {
      const fs::path path = fs::path(arguments.figures) / (figure.name + ".svg");
      write_atomic(path, figure.svg);
      figures.push_back(fs::absolute(path).lexically_normal().string());
    }
  }
  const std::string file = fs::absolute(arguments.output).lexically_normal().string();
  const Json facts = {{"file", file},
                      {"bytes", page.size()},
                      {"runs", data.runs.size()},
                      {"variants", data.groups.size()},
                      {"incidents", data.incidents.size()},
                      {"figures", figures},
                      {"metric", data.metric}};
  std::string said = concat(file, ": ", data.runs.size(), data.runs.size() == 1 ? " run, " : " runs, ", page.size() / 1000, " kB\n");
  if (!figures.empty()) said += concat(arguments.figures, ": ", figures.size(), " figures\n");
  print_result(globals, canonical(facts), said);
  return 0;
}

struct ExportArguments {
  std::string format, output;
  ReportWanted wanted;
  bool steps = false;
};

int export_table(const Globals& globals, const ExportArguments& arguments) {
  if (arguments.format != "csv" && arguments.format != "json")
    throw Error(ErrorKind::usage, "unknown format '" + arguments.format + "'", "accepted: csv, json");
  const Json table = long_table(load_report(globals.runs, arguments.wanted), arguments.steps);
  // On stdout --json means what it means everywhere.
  const bool csv = arguments.format == "csv" && !(globals.json && arguments.output.empty());
  const std::string text = csv ? as_csv(table) : canonical(table) + "\n";
  if (arguments.output.empty()) {
    print_result(globals, text, text);
    return 0;
  }
  write_atomic(arguments.output, text);
  print_result(globals, canonical(Json{{"file", fs::absolute(arguments.output).string()}, {"rows", table.size()}}),
               concat(arguments.output, ": ", table.size(), " rows\n"));
  return 0;
}

}  // namespace

void add_report_commands(Command& root) {
  const auto arguments = std::make_shared<ReportArguments>();
  auto page = root.add("report", "One self-contained HTML page of a sweep or of runs",
                       "Examples:\n"
                       "  caddie report what_did_not_work -o report.html\n"
                       "  caddie report 20261124T101415Z 20261124T102209Z -o two.html\n"
                       "  caddie report quantizers --figures figures\n"
                       "  caddie report --leaderboard -o leaderboard.html\n");
  page.arguments("sweep_or_run", arguments->wanted.what,
                 "Sweeps (name, id, folder) and runs (id, its beginning, folder)");
  page.option("-o,--output", arguments->output, "The file to write (default: report.html)");
  page.option("--baseline", arguments->wanted.baseline, "Variant or run that others are compared to (default: base)");
  page.option("--metric", arguments->wanted.metric, "Score to compare by (default: the last that all have)");
  page.option("--figures", arguments->figures, "A folder for every figure as an SVG file too");
  page.flag("--leaderboard", arguments->leaderboard, "Rank all runs, or those that are named");
  page.run([arguments](const Globals& globals) { return report(globals, *arguments); });

  const auto wanted = std::make_shared<ExportArguments>();
  auto table = root.add(
      "export", "Runs as one long table, CSV or JSON",
      "A row for each run and figure: sweep, variant, name, seed, run, status, kind, metric, step, value, unit.\n"
      "Examples:\n"
      "  caddie export csv what_did_not_work -o results.csv\n"
      "  caddie export json --steps > runs.json\n");
  table.argument("format", wanted->format, "csv or json");
  table.arguments("sweep_or_run", wanted->wanted.what, "Sweeps and runs (default: every run)");
  table.option("-o,--output", wanted->output, "The file to write (default: stdout)");
  table.flag("--steps", wanted->steps, "Training metrics by step too");
  table.run([wanted](const Globals& globals) { return export_table(globals, *wanted); });
}

}  // namespace caddie::cli
