#include "registry/pack/pack.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/config/print.h"
#include "core/eval/ledger.h"
#include "core/pipeline/run.h"
#include "registry/compare/statistics.h"
#include "registry/query/diff.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kSeeds = 3;

// Everything that speaks against packing, found in one pass.
class Refusal {
 public:
  explicit Refusal(const std::vector<std::string>& allow) : allow_(allow) {
    for (const std::string& one : allow)
      if (one != "seeds" && one != "limited" && one != "source")
        throw Error(
            ErrorKind::usage, concat("--allow '", one, "' is unknown"),
            "accepted: seeds (fewer than three), limited (a part of the validation text), source (the program has "
            "changed since). Budgets, ledgers and differing manifests cannot be allowed.");
  }
  void add(ErrorKind kind, const std::string& what, const std::string& next) {
    problems_.push_back({kind, what + "\n      " + next});
  }
  void add_unless_allowed(const char* name, const std::string& what, const std::string& next) {
    if (std::find(allow_.begin(), allow_.end(), name) == allow_.end())
      add(ErrorKind::usage, what, concat(next, " Or pack it as it is: --allow ", name, "."));
  }
  void throw_if_any() const {
    if (problems_.empty()) return;
    ErrorKind kind = ErrorKind::usage;
    std::string text = "these runs cannot be packed:";
    for (const auto& [of, what] : problems_) {
      text += "\n    " + what;
      if (of == ErrorKind::legality || (of == ErrorKind::budget && kind != ErrorKind::legality)) kind = of;
    }
    throw Error(kind, text);
  }

 private:
  const std::vector<std::string>& allow_;
  std::vector<std::pair<ErrorKind, std::string>> problems_;
};

std::string shown(const Json& value) { return value.is_string() ? value.get<std::string>() : canonical(value); }

Json plugins_without_files(const RunRecord& run) {
  Json plugins = run.plugins;
  if (plugins.is_object())
    for (auto& [name, facts] : plugins.items()) facts.erase("file");
  return plugins;
}

void check_alike(const std::vector<RunRecord>& runs, Refusal& refusal) {
  const RunRecord& first = runs.front();
  std::set<std::int64_t> seeds;
  for (const RunRecord& run : runs) {
    if (!seeds.insert(run.seed).second)
      refusal.add(ErrorKind::usage, concat("seed ", run.seed, " is there twice, in ", run.id), "Name one run a seed.");
    std::string what;
    for (const Differing& one : differing(first.resolved, run.resolved))
      if (one.path != "seed")
        what += concat(what.empty() ? "" : ", ", one.path, " (", shown(one.a), " | ", shown(one.b), ")");
    if (!what.empty())
      refusal.add(ErrorKind::usage, concat(first.id, " and ", run.id, " have different manifests: ", what),
                  "A submission's seeds share one configuration: caddie run MANIFEST --seeds 1,2,3.");
    if (const auto plugins = differing(plugins_without_files(first), plugins_without_files(run)); !plugins.empty())
      refusal.add(ErrorKind::usage,
                  concat(first.id, " and ", run.id, " ran with different plugins: ", plugins.front().path),
                  "Run all seeds with one build.");
  }
}

void check_budgets(const RunRecord& run, Refusal& refusal) {
  for (const Json& verdict : run.more.value("verdicts", Json::array()))
    if (!verdict.value("kept", true))
      refusal.add(ErrorKind::budget,
                  concat("seed ", run.seed, " is over its budget of ", shown(verdict.at("what")), ": ",
                         shown(verdict.at("used")), " of ", shown(verdict.at("cap"))),
                  "Make the model smaller or the stage faster; a broken budget cannot be packed.");
  if (run.status == "budget" && run.more.value("verdicts", Json::array()).empty())
    refusal.add(ErrorKind::budget, concat("seed ", run.seed, " is over a budget"), "caddie runs show says which.");
}

void check_ledger(const RunRecord& run, Refusal& refusal) {
  if (!run.scores.contains("ttt_bpb")) return;
  const char* next = "Score it again: caddie run MANIFEST --from ttt.";
  try {
    const auto summary = eval::verify_ledger(run.folder / "ledger.jsonl");
    const RunScore& score = run.scores.at("ttt_bpb");
    if (summary.score.nats != score.nats || summary.score.bytes != score.bytes)
      refusal.add(ErrorKind::legality, concat("seed ", run.seed, ": the ledger's score is not the run's"), next);
  } catch (const Error& error) {
    refusal.add(ErrorKind::legality, concat("seed ", run.seed, ": ", error.message()), next);
  }
}

void check_scores(const RunRecord& run, const RunRecord& first, Refusal& refusal) {
  const std::string metric = headline_metric(run);
  if (metric.empty() || !fs::exists(run.folder / "artifact" / "model.caddie")) {
    refusal.add(ErrorKind::usage, concat(run.id, " has no artifact that was scored"),
                "A submission needs the stages quantize, compress and evaluate.");
    return;
  }
  if (metric != headline_metric(first)) return;  // the manifests differ, which is said already
  const RunScore &score = run.scores.at(metric), &other = first.scores.at(metric);
  if (score.limited_to > 0)
    refusal.add_unless_allowed("limited",
                               concat("seed ", run.seed, " was scored on ", score.tokens,
                                      " tokens of the validation text only (evaluate.tokens)"),
                               "Run with evaluate.tokens=all.");
  if (score.bytes != other.bytes || score.tokens != other.tokens)
    refusal.add(
        ErrorKind::usage,
        concat("seed ", run.seed, " was scored over ", score.bytes, " bytes, seed ", first.seed, " over ", other.bytes),
        "Score all seeds on the same validation data.");
  // Loss, bits per byte and bytes must be of one score.
  if (std::abs(score.loss / std::log(2.0) * static_cast<double>(score.tokens) / score.bits_per_byte /
                   static_cast<double>(score.bytes) -
               1) > 1e-9)
    refusal.add(ErrorKind::legality,
                concat("seed ", run.seed, ": loss, bits per byte and bytes do not belong together"),
                "Its record was changed; run it again.");
}

void check_source(const RunRecord& run, const std::string& source, Refusal& refusal) {
  const std::string ran = run.environment.is_object() ? run.environment.value("source_sha256", "") : "";
  if (ran == source && !source.empty()) return;
  refusal.add_unless_allowed("source",
                             source.empty() ? "this program has no compressed source beside it"
                                            : concat("seed ", run.seed, " ran with another version of the program"),
                             "Run it again with this program (what did not change comes from the cache).");
}

Json facts_of(const RunRecord& run) {
  Json scores = Json::object();
  for (const auto& [metric, score] : run.scores)
    scores[metric] = {{"nats", score.nats},
                      {"tokens", score.tokens},
                      {"bytes", score.bytes},
                      {"loss", score.loss},
                      {"bits_per_byte", score.bits_per_byte}};
  const Json& artifact = run.result.at("artifact");
  const fs::path file = run.folder / "artifact" / "model.caddie";
  return {{"run", run.id},
          {"seed", run.seed},
          {"started", run.started},
          {"metrics", run.metrics},
          {"scores", scores},
          {"artifact",
           {{"bytes", artifact.at("bytes")},
            {"code_bytes", artifact.at("code_bytes")},
            {"total_bytes", artifact.at("total_bytes")},
            {"sha256", sha256_file(file)},
            {"decoded_sha256", run.stages.at("compress").at("outputs").value("decoded_hash", Json())}}},
          {"seconds", run.result.at("seconds")},
          {"train", run.result.value("train", Json::object())},
          {"verdicts", run.more.value("verdicts", Json::array())}};
}

Json submission_of(const std::vector<RunRecord>& runs, const PackOptions& options, const std::string& metric,
                   std::int64_t code_size) {
  std::vector<double> loss, bits, bytes;
  Json seeds = Json::array(), results = Json::object();
  for (const RunRecord& run : runs) {
    const RunScore& score = run.scores.at(metric);
    const Json seconds = run.result.at("seconds"), train = run.result.value("train", Json::object());
    loss.push_back(score.loss);
    bits.push_back(score.bits_per_byte);
    bytes.push_back(run.result.at("artifact").at("bytes").get<double>());
    seeds.push_back(run.seed);
    results[std::to_string(run.seed)] = {{"val_loss", score.loss},
                                         {"val_bpb", score.bits_per_byte},
                                         {"artifact_bytes", run.result["artifact"]["bytes"]},
                                         {"steps", train.value("steps", Json())},
                                         {"step_avg_ms", train.value("step_ms_median", Json())},
                                         {"train_time_s", seconds.value("train", Json())},
                                         {"eval_time_s", seconds.value("evaluate", 0.0) + seconds.value("ttt", 0.0)}};
  }
  const auto spread = [](const std::vector<double>& values) {
    const auto deviation = standard_deviation(values);
    return deviation ? Json(*deviation) : Json();
  };
  const double largest = *std::max_element(bytes.begin(), bytes.end());
  const Json environment = runs.front().environment.is_object() ? runs.front().environment : Json::object();
  return {{"author", options.author},
          {"github_id", options.github_id},
          {"name", options.title.empty() ? runs.front().name : options.title},
          {"blurb", options.summary},
          {"date", utc_timestamp().substr(0, 10)},
          {"track", options.track},
          {"metric", metric},
          {"val_loss", mean(loss)},
          {"val_bpb", mean(bits)},
          {"val_loss_std", spread(loss)},
          {"val_bpb_std", spread(bits)},
          {"val_tokens", runs.front().scores.at(metric).tokens},
          {"val_bytes", runs.front().scores.at(metric).bytes},
          {"limited_to", runs.front().scores.at(metric).limited_to},
          {"seeds", seeds},
          {"seed_results", results},
          {"artifact_bytes_mean", mean(bytes)},
          {"artifact_bytes_max", static_cast<std::int64_t>(largest)},
          {"bytes_code", code_size},
          {"bytes_total", static_cast<std::int64_t>(largest) + code_size},
          {"bytes_cap", runs.front().resolved.at("budgets").at("artifact_bytes")},
          {"budgets", runs.front().resolved.at("budgets")},
          {"hardware", environment.contains("gpu") ? environment["gpu"] : environment.value("cpu", Json())},
          {"pytorch_version", environment.value("libtorch", Json())},
          {"allowed", options.allow}};
}

// Into the submission.
void ship(const fs::path& from, const fs::path& to) {
  std::error_code code;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, code);
  if (code)
    throw Error(ErrorKind::failed, concat("cannot copy ", from.string(), " to ", to.string(), ": ", code.message()));
}

void write_seed(const RunRecord& run, const fs::path& folder) {
  make_directories(folder);
  ship(run.folder / "artifact" / "model.caddie", folder / "model.caddie");
  if (fs::exists(run.folder / "artifact" / "tokenizer.model"))
    ship(run.folder / "artifact" / "tokenizer.model", folder / "tokenizer.model");
  for (const char* name : {"metrics.jsonl", "plugins.json", "environment.json"}) ship(run.folder / name, folder / name);
  if (run.scores.contains("ttt_bpb")) ship(run.folder / "ledger.jsonl", folder / "ledger.jsonl");
  write_atomic(folder / "train.log", training_log(run));
  write_json(folder / "facts.json", facts_of(run));
}

Json list_files(const fs::path& folder) {
  Json files = Json::object();
  for (const auto& item : fs::recursive_directory_iterator(folder))
    if (item.is_regular_file())
      files[fs::relative(item.path(), folder).generic_string()] = {{"bytes", item.file_size()},
                                                                   {"sha256", sha256_file(item.path())}};
  return files;
}

}  // namespace

std::string headline_metric(const RunRecord& run) {
  for (const char* metric : {"ttt_bpb", "sliding_bpb", "roundtrip_bpb"})
    if (run.scores.contains(metric)) return metric;
  return {};
}

Json pack_runs(const std::vector<RunRecord>& given, const PackOptions& options) {
  if (given.empty()) throw Error(ErrorKind::usage, "no runs were named", "caddie pack RUN RUN RUN -o DIR");
  std::vector<RunRecord> runs = given;
  std::sort(runs.begin(), runs.end(), [](const RunRecord& a, const RunRecord& b) { return a.seed < b.seed; });
  const fs::path output = fs::absolute(options.output).lexically_normal();
  std::error_code code;
  if (fs::exists(output) && !fs::is_empty(output, code))
    throw Error(ErrorKind::usage, concat(output.string(), " exists and is not empty"),
                "Choose another folder with -o.");

  Refusal refusal(options.allow);
  const auto source = pipeline::source_archive();
  const std::string source_hash = source ? sha256_file(*source) : "";
  check_alike(runs, refusal);
  if (runs.size() < kSeeds)
    refusal.add_unless_allowed("seeds", concat("there are ", runs.size(), " seeds, the challenge asks for ", kSeeds),
                               "Run more: caddie run MANIFEST --seeds 1,2,3.");
  for (const RunRecord& run : runs) {
    if (!run.finished()) {
      refusal.add(ErrorKind::usage, concat(run.id, " has no result, it is ", run.shown_status()),
                  "Let it finish: caddie run MANIFEST --resume ID.");
      continue;
    }
    check_budgets(run, refusal);
    check_ledger(run, refusal);
    if (runs.front().finished()) check_scores(run, runs.front(), refusal);
    check_source(run, source_hash, refusal);
  }
  refusal.throw_if_any();

  const fs::path temporary = output.parent_path() / concat(".pack.", ::getpid());
  fs::remove_all(temporary, code);
  make_directories(temporary);
  struct Cleanup {
    fs::path path;
    ~Cleanup() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } cleanup{temporary};
  for (const RunRecord& run : runs) write_seed(run, temporary / concat("seed_", run.seed));
  if (source) ship(*source, temporary / "source.tar.xz");
  Manifest manifest;
  manifest.resolved = runs.front().resolved;
  write_atomic(temporary / "manifest.yaml", to_yaml(manifest, false));
  const std::string metric = headline_metric(runs.front());
  const std::int64_t code_size = source ? static_cast<std::int64_t>(fs::file_size(*source)) : 0;
  const Json submission = submission_of(runs, options, metric, code_size);
  write_json(temporary / "submission.json", submission);
  write_atomic(temporary / "README.md", submission_readme(submission, runs, metric));
  write_json(temporary / "files.json", list_files(temporary));
  fs::remove(output, code);  // if it is there it is empty
  fs::rename(temporary, output, code);
  if (code) throw Error(ErrorKind::failed, concat("cannot write ", output.string(), ": ", code.message()));
  return submission;
}

}  // namespace caddie::registry
