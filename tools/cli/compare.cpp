// caddie compare: differences between variants over seeds, with intervals and tests.
#include <memory>

#include "caddie/error.h"
#include "registry/compare/compare.h"
#include "tools/cli/command.h"

namespace caddie::cli {
namespace {

struct CompareArguments {
  std::vector<std::string> names;
  std::string baseline, metric, unit = "bpb", format = "table";
  double confidence = 0.95;
};

int compare_command(const Globals& globals, const CompareArguments& arguments) {
  std::vector<std::string> names = arguments.names;
  auto groups = registry::resolve_groups(globals.runs, names);
  registry::CompareOptions options;
  options.baseline = arguments.baseline;
  options.metric = arguments.metric;
  options.unit = arguments.unit;
  options.confidence = arguments.confidence;
  // A baseline that is none of the arguments is one more of them.
  if (!arguments.baseline.empty()) {
    bool there = false;
    for (const registry::Group& group : groups) {
      there = there || group.name == arguments.baseline;
      for (const registry::RunRecord& run : group.runs)
        there = there || run.id.starts_with(arguments.baseline) || run.folder == arguments.baseline ||
                run.name == arguments.baseline || arguments.baseline.ends_with(run.id);
    }
    if (!there) {
      names.push_back(arguments.baseline);
      groups = registry::resolve_groups(globals.runs, names);
    }
  }
  const registry::Comparison comparison = registry::compare(groups, options);
  const std::string& format = arguments.format;
  if (format != "table" && format != "markdown" && format != "csv" && format != "json")
    throw Error(ErrorKind::usage, "--format is '" + format + "'", "accepted: table, markdown, csv, json");
  const std::string json = canonical(registry::to_json(comparison));
  print_result(globals, json,
               format == "json"       ? json
               : format == "csv"      ? registry::to_csv(comparison)
               : format == "markdown" ? registry::to_markdown(comparison)
                                      : registry::to_text(comparison));
  return 0;
}

}  // namespace

void add_compare_command(Command& root) {
  auto arguments = std::make_shared<CompareArguments>();
  auto compare =
      root.add("compare", "Differences over seeds: intervals, tests, the challenge's rule, bytes and seconds",
               "Examples:\n"
               "  caddie compare reference no_ema --baseline reference\n"
               "  caddie compare what_did_not_work --baseline base --unit nats\n"
               "  caddie compare RUN RUN RUN --metric sliding --format markdown\n"
               "\nNames mean all finished runs of a manifest or variant, a sweep all its variants. Runs that differ in "
               "nothing but\n"
               "the seed are one variant. Differences are paired by seed where both have the same seeds, else Welch's "
               "test is used;\n"
               "p Holm is corrected for the number of variants in the table. Lower is better.\n");
  compare.arguments("runs", arguments->names, "Run ids, names, or a sweep", true);
  compare.option("--baseline", arguments->baseline,
                 "What the others are compared with: a name or a run; default: the first");
  compare.option("--metric", arguments->metric,
                 "ttt, sliding, roundtrip, val, train_loss, seconds, bytes, ...; default: the last score");
  compare.option("--unit", arguments->unit, "bpb (bits per byte) or nats (per token)");
  compare.option("--confidence", arguments->confidence, "Of the interval");
  compare.option("--format", arguments->format, "table, markdown, csv or json");
  compare.run([arguments](const Globals& globals) { return compare_command(globals, *arguments); });
}

}  // namespace caddie::cli
