// caddie pack: the submission folder of the challenge. caddie verify: a clean-room check of one.
#include <filesystem>
#include <memory>

#include "caddie/error.h"
#include "core/base/log.h"
#include "registry/compare/compare.h"
#include "registry/pack/pack.h"
#include "registry/pack/verify.h"
#include "tools/cli/session.h"

namespace caddie::cli {
namespace fs = std::filesystem;
namespace {

struct PackArguments {
  std::vector<std::string> runs;
  registry::PackOptions options;
  std::string output;
};
struct VerifyArguments {
  std::string folder;
  registry::VerifyOptions options;
  bool no_score = false;
};

// Ids and folders of any state; names mean the finished runs of that manifest, one a seed.
std::vector<registry::RunRecord> chosen(const Globals& globals, const std::vector<std::string>& names) {
  std::vector<registry::RunRecord> runs;
  for (const std::string& name : names) {
    fs::path folder;
    try {
      folder = registry::find_run(globals.runs, name);
    } catch (const Error&) {
      const auto groups = registry::resolve_groups(globals.runs, {name});
      for (const registry::Group& group : groups)
        for (const registry::RunRecord& run : group.runs) runs.push_back(run);
      continue;
    }
    runs.push_back(registry::load_run(folder));
  }
  return runs;
}

int pack_command(const Globals& globals, PackArguments arguments) {
  if (arguments.output.empty()) throw Error(ErrorKind::usage, "no output folder was given", "Add -o DIR.");
  arguments.options.output = arguments.output;
  const Json submission = registry::pack_runs(chosen(globals, arguments.runs), arguments.options);
  const std::string folder = fs::absolute(arguments.output).lexically_normal().string();
  Json result = submission;
  result["directory"] = folder;
  std::vector<std::vector<std::string>> rows = {
      {"bits per byte, mean", fixed(submission.at("val_bpb").get<double>(), 5)},
      {"nats per token, mean", fixed(submission.at("val_loss").get<double>(), 5)},
      {"seeds", std::to_string(submission.at("seeds").size())},
      {"largest model, bytes", with_commas(submission.at("artifact_bytes_max"))},
      {"compressed source, bytes", with_commas(submission.at("bytes_code"))},
      {"together, bytes", with_commas(submission.at("bytes_total"))}};
  print_result(globals, canonical(result),
               table(rows) + "\nSubmission folder: " + folder + "\nNext:\n  " + invoked() + " verify " + arguments.output + "\n");
  return 0;
}

int verify_command(const Globals& globals, const VerifyArguments& arguments) {
  registry::VerifyOptions options = arguments.options;
  options.score = !arguments.no_score;
  const auto verification = registry::verify_submission(arguments.folder, options, make_catalogue(globals));
  std::vector<std::vector<std::string>> rows = {{"check", "stated", "found", ""}};
  for (const registry::Check& check : verification.checks)
    rows.push_back({check.what, check.stated, check.found,
                    check.passed ? log::styled("passed", "32") : log::styled("FAILED", "31;1")});
  print_result(globals, canonical(registry::to_json(verification)),
               table(rows) + (options.score ? "" : "  scores were not computed (--no-score)\n"));
  if (verification.passed()) return 0;
  std::size_t failed = 0;
  std::string first;
  for (const registry::Check& check : verification.checks)
    if (!check.passed && failed++ == 0) first = concat(check.what, ": stated ", check.stated, ", found ", check.found);
  throw Error(verification.kind(), concat(failed, " of ", verification.checks.size(), " checks failed: ", first),
              verification.kind() == ErrorKind::legality
                  ? "On another device or in another precision scores differ in the fifth digit: --tolerance 1e-4."
                  : "");
}

}  // namespace

void add_pack_commands(Command& root) {
  auto packing = std::make_shared<PackArguments>();
  auto pack = root.add(
      "pack", "The submission folder: README, submission.json, logs, artifacts, source",
      "Examples:\n"
      "  caddie pack reference -o submission\n"
      "  caddie pack RUN RUN RUN -o submission --author NAME --summary \"GPTQ int5, score-first TTT\"\n"
      "  caddie pack quickstart -o try --allow seeds --allow limited\n"
      "\nRefused: seeds with different manifests or plugins, a broken budget, a ledger with a breach.\n"
      "Can be allowed: seeds (fewer than three), limited (a part of the validation text), source (the program\n"
      "has changed since the runs).\n");
  pack.arguments("runs", packing->runs, "Runs, one a seed, or the name of their manifest", true);
  pack.option("-o,--output", packing->output, "The folder to make");
  pack.option("--allow", packing->options.allow, "seeds, limited or source; repeatable");
  pack.option("--author", packing->options.author, "For submission.json");
  pack.option("--github", packing->options.github_id, "For submission.json");
  pack.option("--title", packing->options.title, "For submission.json; default: the manifest's name");
  pack.option("--summary", packing->options.summary, "One or two sentences about it");
  pack.option("--track", packing->options.track, "For submission.json");
  pack.run([packing](const Globals& globals) { return pack_command(globals, *packing); });

  auto checking = std::make_shared<VerifyArguments>();
  auto verify = root.add(
      "verify", "Check a submission folder: count, decode, score again, compare",
      "Examples:\n"
      "  caddie verify submission\n"
      "  caddie verify submission data.validation='[/data/fineweb_val_*.bin]' --tolerance 1e-4\n"
      "  caddie verify submission --no-score\n"
      "\nExit codes: 4 a score or a ledger does not hold, 5 over a budget, 6 files are not what they should be.\n");
  verify.argument("folder", checking->folder, "A submission folder");
  verify.arguments("overrides", checking->options.overrides, "Where the data lie here, data.key=value; device=...");
  verify.flag("--no-score", checking->no_score, "Only files, bytes, ledgers and decoding");
  verify.option("--tolerance", checking->options.tolerance, "Of scores, in bits per byte");
  verify.run([checking](const Globals& globals) { return verify_command(globals, *checking); });
}

}  // namespace caddie::cli
