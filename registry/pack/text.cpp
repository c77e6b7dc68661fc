// The texts of a submission: README.md and the training logs.
#include <cstdio>

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/pack/pack.h"

namespace caddie::registry {
namespace {

std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string commas(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

std::string optional_figure(const RunRecord& run, const char* metric) {
  const auto score = run.scores.find(metric);
  return score == run.scores.end() ? "" : fixed(score->second.bits_per_byte, 5);
}

}  // namespace

std::string training_log(const RunRecord& run) {
  std::string text = concat("run:", run.id, " name:", run.name, " seed:", run.seed, " started:", run.started, "\n");
  const Json stop = run.resolved.at("train").value("stop", Json::object());
  const Json planned = stop.value("steps", Json()), done = run.result.value("train", Json::object()).value("steps", Json());
  const std::string steps = planned.is_number() ? planned.dump() : done.is_number() ? done.dump() : "?";
  for (const Json& line : read_json_lines(run.folder / "metrics.jsonl")) {
    if (!line.contains("step") || !line.contains("train_loss")) continue;
    text += concat("step:", line["step"].dump(), "/", steps, " train_loss:", fixed(line["train_loss"].get<double>(), 4),
                   " train_time:", fixed(1000 * line.value("elapsed_seconds", 0.0), 0), "ms\n");
  }
  for (const auto& [metric, score] : run.scores)
    text += concat("final_", metric.substr(0, metric.size() - 4), " val_loss:", fixed(score.loss, 8),
                   " val_bpb:", fixed(score.bits_per_byte, 8), " tokens:", score.tokens, " bytes:", score.bytes, "\n");
  const Json& artifact = run.result.at("artifact");
  text += concat("artifact_bytes:", artifact.at("bytes").dump(), " code_bytes:", artifact.at("code_bytes").dump(),
                 " total_bytes:", artifact.at("total_bytes").dump(), "\n");
  for (const auto& [stage, seconds] : run.result.at("seconds").items())
    text += concat("seconds_", stage, ":", fixed(seconds.get<double>(), 3), "\n");
  return text;
}

std::string submission_readme(const Json& submission, const std::vector<RunRecord>& runs, const std::string& metric) {
  const auto spread = [&](const char* key) {
    return submission.at(key).is_null() ? std::string() : " ± " + fixed(submission[key].get<double>(), 5);
  };
  std::string text = concat("# ", submission.at("name").get<std::string>(), "\n\n");
  if (const std::string blurb = submission.at("blurb"); !blurb.empty()) text += blurb + "\n\n";
  text += concat("**", fixed(submission.at("val_bpb").get<double>(), 5), spread("val_bpb_std"), " bits per byte** (",
                 fixed(submission.at("val_loss").get<double>(), 5), spread("val_loss_std"), " nats per token), `",
                 metric, "`, mean of ", runs.size(), runs.size() == 1 ? " seed" : " seeds", ", over ",
                 commas(submission.at("val_tokens")), " tokens and ", commas(submission.at("val_bytes")), " bytes.\n");
  if (submission.at("limited_to").get<std::int64_t>() > 0)
    text += "\n**A part of the validation text only** (`evaluate.tokens`): no score of the challenge.\n";
  text +=
      "\n| seed | artifact read back | sliding | score-first TTT | model, bytes | total, bytes | steps | train s | "
      "score s |\n"
      "|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const RunRecord& run : runs) {
    const Json &artifact = run.result.at("artifact"), seconds = run.result.at("seconds");
    text += concat("| ", run.seed, " | ", optional_figure(run, "roundtrip_bpb"), " | ",
                   optional_figure(run, "sliding_bpb"), " | ", optional_figure(run, "ttt_bpb"), " | ",
                   commas(artifact.at("bytes")), " | ", commas(artifact.at("total_bytes")), " | ",
                   run.result.value("train", Json::object()).value("steps", Json()).dump(), " | ",
                   fixed(seconds.value("train", 0.0), 1), " | ",
                   fixed(seconds.value("evaluate", 0.0) + seconds.value("ttt", 0.0), 1), " |\n");
  }
  text +=
      concat("\nCompressed source: ", commas(submission.at("bytes_code")),
             " bytes; the largest model and the source together: ", commas(submission.at("bytes_total")), " bytes",
             submission.at("bytes_cap").is_null() ? std::string() : " of " + commas(submission["bytes_cap"]), ".\n");
  text += concat(
      "Machine: ", submission.at("hardware").is_string() ? submission["hardware"].get<std::string>() : "not recorded",
      ", LibTorch ",
      submission.at("pytorch_version").is_string() ? submission["pytorch_version"].get<std::string>() : "?", ".\n");
  text += R"(
## What is here
- `manifest.yaml`: the whole configuration; the seeds differ in `seed` alone.
- `source.tar.xz`: the program's source. `tar xf source.tar.xz && ./caddie run manifest.yaml --seeds )";
  for (std::size_t i = 0; i < runs.size(); ++i) text += concat(i == 0 ? "" : ",", runs[i].seed);
  text += R"(`
- `seed_N/`: the artifact (`model.caddie`), its tokenizer, the training log, the ledger of the test-time training (every
  interval is scored before it is adapted on), and what is claimed (`facts.json`).
- `files.json`: sizes and SHA-256 of all of it.

## Check it
    caddie verify .

counts the bytes, checks every hash and every ledger, decodes the artifacts, scores them again and compares.
)";
  return text;
}

}  // namespace caddie::registry
