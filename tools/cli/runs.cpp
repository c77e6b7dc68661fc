// caddie runs list | show: the run folders. Each folder is the truth about its run; a folder that cannot be read is said.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/pipeline/run_folder.h"
#include "tools/cli/session.h"
#include "tools/cli/summary.h"

namespace caddie::cli {
namespace fs = std::filesystem;
namespace {

Json facts_of(const pipeline::RunFolder& folder) {
  Json facts = {{"run", folder.id()}, {"directory", folder.path().string()}};
  facts.update(folder.status());
  const Json resolved = folder.resolved();
  facts["name"] = resolved.at("name");
  facts["seed"] = resolved.at("seed");
  if (const Json finished = folder.result(); finished.is_object()) facts["result"] = finished.at("result");
  return facts;
}

int list(const Globals& globals) {
  Json runs = Json::array();
  std::error_code code;
  std::vector<fs::path> folders;
  for (const auto& item : fs::directory_iterator(globals.runs, code))
    if (item.is_directory()) folders.push_back(item.path());
  std::sort(folders.begin(), folders.end());
  std::string problems;
  for (const fs::path& path : folders) {
    if (!fs::exists(path / "resolved.json")) continue;
    try {
      runs.push_back(facts_of(pipeline::RunFolder::open(globals.runs, path.string())));
    } catch (const std::exception& error) {
      problems += concat("not readable: ", path.string(), ": ", error.what(), "\n");
    }
  }
  std::vector<std::vector<std::string>> rows = {{"run", "status", "seed", "val", "sliding", "ttt", "bytes"}};
  for (const Json& facts : runs) {
    const Json result = facts.value("result", Json::object());
    const Json metrics = result.value("metrics", Json::object());
    const auto score = [&](const char* name) { return metrics.contains(name) ? fixed(metrics[name].get<double>(), 4) : "-"; };
    rows.push_back({facts["run"], facts["status"], facts["seed"].dump(), score("val_bpb"), score("sliding_bpb"), score("ttt_bpb"),
                    result.contains("artifact") ? with_commas(result["artifact"]["total_bytes"]) : "-"});
  }
  print_result(globals, canonical(Json{{"runs", runs}}),
               runs.empty() ? "no runs in " + fs::absolute(globals.runs).string() + problems : table(rows) + problems);
  return 0;
}

int show(const Globals& globals, const std::string& run) {
  const auto folder = pipeline::RunFolder::open(globals.runs, run);
  const Json facts = facts_of(folder);
  std::string text = facts.at("run").get<std::string>() + ": " + facts.at("status").get<std::string>() + "\n";
  if (facts.contains("error")) text += facts["error"].get<std::string>() + "\n";
  if (const Json finished = folder.result(); finished.is_object())
    text += run_summary(finished.at("result"), finished.at("more"), (folder.path() / "manifest.yaml").string());
  print_result(globals, canonical(facts), text);
  return 0;
}

}  // namespace

void add_runs_commands(Command& root) {
  auto runs = root.add("runs", "The runs that were made: list, show");
  auto listing = runs.add("list", "All runs with their scores", "Example:\n  caddie runs list\n");
  listing.run([](const Globals& globals) { return list(globals); });
  auto name = std::make_shared<std::string>();
  auto one = runs.add("show", "One run: scores, budgets, folder", "Example:\n  caddie runs show 20261124T\n");
  one.argument("run", *name, "Id, the beginning of an id, or folder");
  one.run([name](const Globals& globals) { return show(globals, *name); });
}

}  // namespace caddie::cli
