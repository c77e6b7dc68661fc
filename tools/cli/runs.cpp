// caddie runs list | show | diff | tag | remove | restore | reindex: the registry on the command line.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <sstream>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "registry/query/diff.h"
#include "registry/query/list.h"
#include "registry/query/manage.h"
#include "registry/record/run_record.h"
#include "tools/cli/command.h"
#include "tools/cli/summary.h"
#include "tools/cli/table.h"

namespace caddie::cli {
namespace fs = std::filesystem;
using namespace registry;
namespace {

struct ListArguments {
  std::string where, sort, columns, group_by;
  std::int64_t limit = 0;
  bool keys = false, bin = false;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

// Headers of the default columns, as people say them.
std::string header(const std::string& column) {
  if (column == "artifact.total_bytes") return "bytes";
  if (column.ends_with("_bpb")) return column.substr(0, column.size() - 4);
  return column;
}

std::string cell_text(const std::string& column, const OptionalValue& value) {
  if (!value) return "-";
  if (!value->is_number) return value->text;
  const Json number = to_json(value);
  if (column.ends_with("_bpb") || column.ends_with("_nats") || column.ends_with("loss")) return fixed(value->number, 4);
  if (number.is_number_integer())
    return column.ends_with("bytes") ? with_commas(number.get<std::int64_t>()) : number.dump();
  return std::abs(value->number) < 0.001 ? concat(value->number)
                                         : fixed(value->number, column.starts_with("seconds") ? 1 : 4);
}

void say_skipped(const RunIndex& index) {
  for (const SkippedFolder& skipped : index.skipped())
    log::warning(concat("not readable, passed over: ", skipped.folder.string(), ": ", skipped.reason));
}

int list_keys(const Globals& globals, const RunIndex& index) {
  std::string text;
  for (const std::string& key : index.keys()) text += key + "\n";
  print_result(globals, canonical(Json{{"keys", index.keys()}}), text);
  return 0;
}

int list_bin(const Globals& globals) {
  const auto ids = bin_contents(globals.runs);
  std::string text;
  for (const std::string& id : ids) text += id + "\n";
  print_result(globals, canonical(Json{{"runs", ids}}), ids.empty() ? "the bin is empty" : text);
  return 0;
}

int list_groups(const Globals& globals, const RunIndex& index, const ListArguments& arguments) {
  const GroupList list = group_runs(
      index, {{arguments.where, arguments.sort, arguments.limit, split(arguments.columns)}, arguments.group_by});
  Json groups = Json::array();
  std::vector<std::vector<std::string>> rows = {{"name", "n"}};
  for (const std::string& column : list.columns) rows[0].push_back(header(column));
  for (const RunGroup& group : list.groups) {
    Json figures = Json::object();
    for (const auto& [column, figure] : group.figures)
      figures[column] = {
          {"mean", figure.mean}, {"sd", figure.deviation ? Json(*figure.deviation) : Json()}, {"n", figure.n}};
    groups.push_back({{"name", group.name},
                      {"n", group.runs.size()},
                      {"seeds", group.seeds},
                      {"runs", group.runs},
                      {"metrics", figures}});
    std::vector<std::string> row = {group.name, std::to_string(group.runs.size())};
    for (const std::string& column : list.columns) {
      const auto found = group.figures.find(column);
      if (found == group.figures.end()) {
        row.push_back("-");
        continue;
      }
      const auto& [value, deviation, n] = found->second;
      const bool bytes = column.ends_with("bytes");
      std::string text = bytes ? with_commas(static_cast<std::int64_t>(value)) : cell_text(column, Value::of(value));
      if (deviation)
        text += " ± " + (bytes ? with_commas(static_cast<std::int64_t>(*deviation)) : fixed(*deviation, 4));
      row.push_back(text);
    }
    rows.push_back(row);
  }
  print_result(globals, canonical(Json{{"groups", groups}}),
               list.groups.empty() ? "no finished runs match" : table(rows));
  return 0;
}

int list(const Globals& globals, const ListArguments& arguments) {
  if (arguments.bin) return list_bin(globals);
  const RunIndex index(globals.runs);
  say_skipped(index);
  if (arguments.keys) return list_keys(globals, index);
  if (!arguments.group_by.empty()) return list_groups(globals, index, arguments);
  const RunList found = list_runs(index, {arguments.where, arguments.sort, arguments.limit, split(arguments.columns)});
  if (globals.json) {
    Json runs = Json::array();
    for (std::size_t i = 0; i < found.runs.size(); ++i) {
      Json run = index.document(found.runs[i]);
      if (!arguments.columns.empty()) {
        Json values = Json::object();
        for (std::size_t c = 0; c < found.columns.size(); ++c)
          values[found.columns[c]] = registry::to_json(found.rows[i][c]);
        run = {{"run", run.at("run")}, {"columns", values}};
      }
      runs.push_back(std::move(run));
    }
    print_result(globals, canonical(Json{{"runs", runs}, {"matching", found.matching}}), "");
    return 0;
  }
  std::vector<std::vector<std::string>> rows(1);
  for (const std::string& column : found.columns) rows[0].push_back(header(column));
  for (const auto& cells : found.rows) {
    rows.emplace_back();
    for (std::size_t c = 0; c < cells.size(); ++c) rows.back().push_back(cell_text(found.columns[c], cells[c]));
  }
  std::string text = table(rows);
  if (found.rows.size() < found.matching)
    text += concat("  ", found.rows.size(), " of ", found.matching, " (--limit)\n");
  if (index.rows().empty())
    text = "no runs in " + fs::absolute(globals.runs).string() +
           "\n  Start with: caddie run experiments/quickstart.yaml\n";
  else if (found.rows.empty())
    text = concat("none of ", index.rows().size(), " runs matches\n");
  print_result(globals, "", text);
  return 0;
}

int show(const Globals& globals, const std::string& name) {
  const RunRecord run = load_run(find_run(globals.runs, name));
  Json facts = {{"run", run.id},
                {"directory", run.folder.string()},
                {"name", run.name},
                {"seed", run.seed},
                {"status", run.shown_status()},
                {"started", run.started},
                {"updated", run.updated},
                {"metrics", run.metrics},
                {"tags", run.tags},
                {"overrides", run.overrides},
                {"sweep", run.sweep}};
  if (!run.error.empty()) facts["error"] = run.error;
  if (!run.stage.empty()) facts["stage"] = run.stage;
  if (run.result.is_object()) facts["result"] = run.result;
  std::string text = concat(run.id, ": ", run.shown_status(), run.stage.empty() ? "" : ", stage " + run.stage, "\n");
  if (!run.error.empty()) text += run.error + "\n";
  std::string tags;
  for (const std::string& tag : run.tags) tags += (tags.empty() ? "" : ", ") + tag;
  if (!tags.empty()) text += "tags: " + tags + "\n";
  if (run.sweep.is_object())
    text += concat("sweep: ", run.sweep.value("sweep", ""), ", variant ", run.sweep.value("variant", ""), "\n");
  if (run.result.is_object()) text += run_summary(run.result, run.more, (run.folder / "manifest.yaml").string());
  print_result(globals, canonical(facts), text);
  return 0;
}

std::string side(const Json& value, bool absent) {
  if (absent) return "-";
  if (value.is_string() && value.get<std::string>().size() == 64)
    return value.get<std::string>().substr(0, 12);  // a hash
  if (value.is_string()) return value;
  return canonical(value);
}

std::string section(const char* title, const std::vector<Differing>& all, const RunRecord& a, const RunRecord& b) {
  if (all.empty()) return concat("\n", log::styled(title, "1"), ": the same\n");
  std::vector<std::vector<std::string>> rows = {
      {"", "a: seed " + std::to_string(a.seed), "b: seed " + std::to_string(b.seed)}};
  for (const Differing& one : all) {
    rows.push_back({one.path, side(one.a, one.absent_a), side(one.b, one.absent_b)});
    if (one.a.is_number_float() && one.b.is_number_float())
      rows.back().push_back(concat(one.b.get<double>() > one.a.get<double>() ? "+" : "",
                                   fixed(one.b.get<double>() - one.a.get<double>(), 6)));
  }
  return concat("\n", log::styled(title, "1"), "\n", table(rows));
}

int diff(const Globals& globals, const std::string& first, const std::string& second) {
  const RunRecord a = load_run(find_run(globals.runs, first)), b = load_run(find_run(globals.runs, second));
  const RunDiff found = diff_runs(a, b);
  std::string text = concat("a  ", a.id, "\nb  ", b.id, "\n");
  text += section("Manifest", found.manifest, a, b) + section("Plugins", found.plugins, a, b) +
          section("Environment", found.environment, a, b) + section("Metrics", found.metrics, a, b);
  std::vector<std::vector<std::string>> rows;
  for (const StageDiff& stage : found.stages) {
    const bool both = !stage.key_a.empty() && !stage.key_b.empty();
    std::string what = stage.key_a == stage.key_b ? "same key" : !both ? "one of the runs has none" : "differs";
    if (!stage.ingredients.empty()) {
      const Differing& one = stage.ingredients.front();
      what = concat("first differing: ", one.path, ": ", side(one.a, one.absent_a), " | ", side(one.b, one.absent_b));
    }
    rows.push_back({stage.stage, what});
  }
  text += "\n" + log::styled("Stages", "1") + "\n";
  for (const auto& row : rows)
    text += concat("  ", row[0], std::string(10 - std::min<std::size_t>(row[0].size(), 9), ' '), row[1], "\n");
  Json json = to_json(found);
  json["a"] = a.id;
  json["b"] = b.id;
  print_result(globals, canonical(json), text);
  return 0;
}

int tag(const Globals& globals, const std::string& run, const std::vector<std::string>& add,
        const std::vector<std::string>& remove) {
  const auto tags = tag_run(globals.runs, run, add, remove);
  std::string text;
  for (const std::string& one : tags) text += (text.empty() ? "" : ", ") + one;
  print_result(globals, canonical(Json{{"run", find_run(globals.runs, run).filename().string()}, {"tags", tags}}),
               text.empty() ? "no tags" : "tags: " + text);
  return 0;
}

int reindex(const Globals& globals) {
  const Stopwatch watch;
  RunIndex index(globals.runs);
  if (!index.rows().empty() && index.read_folders() < index.rows().size())
    index.rebuild();  // opening it did not read all
  say_skipped(index);
  const double seconds = watch.seconds();
  Json skipped = Json::array();
  for (const SkippedFolder& one : index.skipped())
    skipped.push_back({{"folder", one.folder.string()}, {"reason", one.reason}});
  print_result(globals, canonical(Json{{"runs", index.rows().size()}, {"skipped", skipped}, {"seconds", seconds}}),
               concat(with_commas(static_cast<std::int64_t>(index.rows().size())), " runs indexed in ",
                      fixed(seconds, 2), " s"));
  return 0;
}

int report_ids(const Globals& globals, const char* done, const std::vector<std::string>& ids, const std::string& next) {
  std::string text;
  for (const std::string& id : ids) text += concat(done, " ", id, "\n");
  print_result(globals, canonical(Json{{"runs", ids}}), text + next);
  return 0;
}

}  // namespace

void add_runs_commands(Command& root) {
  auto runs = root.add("runs", "The runs that were made: list, show, diff, tag, remove, restore, reindex");
  auto listed = std::make_shared<ListArguments>();
  auto listing =
      runs.add("list", "Runs with their scores: filter, sort, group",
               "Examples:\n"
               "  caddie runs list\n"
               "  caddie runs list --where 'val_bpb<1.2 and optimizer=muon' --sort val_bpb --limit 10\n"
               "  caddie runs list --where 'status=failed or not ttt_bpb' --columns run,error\n"
               "  caddie runs list --group-by all-but-seed --sort ttt_bpb\n"
               "  caddie runs list --group-by model.layers,compressor --columns val_bpb,bytes\n"
               "\nConditions: = != < <= > >= ~ (contains) !~, and, or, not, ( ). A key alone: it has a value.\n"
               "Keys: metrics, paths of the manifest or their ends (layers), optimizer, compressor, bytes, tags, ...;\n"
               "  caddie runs list --keys   lists all.\n");
  listing.option("--where", listed->where, "Only runs for which this holds");
  listing.option("--sort", listed->sort, "By this key; KEY:desc for the largest first");
  listing.option("--limit", listed->limit, "At most N; 0: all");
  listing.option("--columns", listed->columns, "Keys to show, with commas between");
  listing.option("--group-by", listed->group_by, "all-but-seed, or keys with commas: means over the runs of a group");
  listing.flag("--keys", listed->keys, "What can be asked for");
  listing.flag("--bin", listed->bin, "The runs in the bin");
  listing.run([listed](const Globals& globals) { return list(globals, *listed); });

  struct Names {
    std::string a, b;
    std::vector<std::string> all, remove;
    bool purge = false;
  };
  auto names = std::make_shared<Names>();
  auto one = runs.add("show", "One run: scores, budgets, folder", "Example:\n  caddie runs show 20261124T\n");
  one.argument("run", names->a, "Id, the beginning of an id, or folder");
  one.run([names](const Globals& globals) { return show(globals, names->a); });

  auto two = runs.add("diff", "How two runs differ: manifest, plugins, environment, metrics, stages",
                      "Example:\n  caddie runs diff 20261124T0953 20261124T1001\n");
  two.argument("a", names->a, "A run");
  two.argument("b", names->b, "Another run");
  two.run([names](const Globals& globals) { return diff(globals, names->a, names->b); });

  auto tagging = runs.add("tag", "Add tags to a run, or take them away",
                          "Examples:\n  caddie runs tag 20261124T0953 baseline keep\n"
                          "  caddie runs tag 20261124T0953 --remove draft\n  caddie runs list --where tags~baseline\n");
  tagging.argument("run", names->a, "A run");
  tagging.arguments("tags", names->all, "Tags to add; none: only say which there are");
  tagging.option("--remove", names->remove, "Take this tag away");
  tagging.run([names](const Globals& globals) { return tag(globals, names->a, names->all, names->remove); });

  auto removing = runs.add("remove", "Move runs to the bin",
                           "Examples:\n  caddie runs remove 20261124T0953\n  caddie runs restore 20261124T0953\n"
                           "  caddie runs remove 20261124T0953 --purge   # for good, from the bin too\n");
  removing.arguments("runs", names->all, "Runs", true);
  removing.flag("--purge", names->purge, "Delete them for good");
  removing.run([names](const Globals& globals) {
    const auto ids = remove_runs(globals.runs, names->all, names->purge);
    return report_ids(globals, names->purge ? "deleted" : "moved to the bin:", ids,
                      names->purge ? "" : "caddie runs restore ID brings a run back.\n");
  });

  auto restoring =
      runs.add("restore", "Bring runs back from the bin", "Example:\n  caddie runs restore 20261124T0953\n");
  restoring.arguments("runs", names->all, "Runs in the bin (caddie runs list --bin)", true);
  restoring.run([names](const Globals& globals) {
    return report_ids(globals, "restored", restore_runs(globals.runs, names->all), "");
  });

  auto indexing = runs.add("reindex", "Read every run's folder again; never needed, always safe",
                           "The index is runs.sqlite in the folder of the runs. It can be deleted at any time.\n");
  indexing.run([](const Globals& globals) { return reindex(globals); });
}

}  // namespace caddie::cli
