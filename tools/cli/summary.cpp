#include "tools/cli/summary.h"

#include <filesystem>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/data/unknown_note.h"
#include "tools/cli/command.h"
#include "tools/cli/table.h"

namespace caddie::cli {
namespace fs = std::filesystem;
namespace {

struct Row {
  const char* metric;
  const char* name;
};
constexpr Row kScores[] = {{"last_step_bpb", "last step's weights, flat"},
                           {"val_bpb", "averaged weights, flat"},
                           {"roundtrip_bpb", "artifact read back, flat"},
                           {"sliding_bpb", "artifact, sliding windows"},
                           {"ttt_bpb", "artifact, score-first TTT"}};

std::string scores(const Json& metrics, const Json& more) {
  std::vector<std::vector<std::string>> rows;
  for (const Row& row : kScores)
    if (metrics.contains(row.metric)) rows.push_back({row.name, fixed(metrics[row.metric].get<double>(), 4)});
  if (rows.empty()) return {};
  std::string text = "\n" + log::styled("Bits per byte", "1") + " of " + with_commas(metrics.value("val_tokens", std::int64_t{0})) +
                     " tokens, " + with_commas(metrics.value("val_bytes", std::int64_t{0})) + " bytes" +
                     (more.contains("limited_to") ? " (limited by evaluate.tokens)" : "") + "\n";
  for (const Json& baseline : more.value("baselines", Json::array()))
    rows.push_back({"for scale: " + baseline.at("name").get<std::string>(), fixed(baseline.at("bits_per_byte").get<double>(), 4)});
  text += table(rows);
  if (const std::string note = data::unknown_note(more.value("identity", Json())); !note.empty()) text += "  " + note + "\n";
  return text;
}

std::string budgets(const Json& more) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& v : more.value("verdicts", Json::array())) {
    const bool bytes = v.at("what") == "artifact bytes";
    const auto figure = [&](double x) { return bytes ? with_commas(static_cast<std::int64_t>(x)) : fixed(x, 1); };
    rows.push_back({v.at("what"), figure(v.at("used")), "of " + figure(v.at("cap")),
                    v.at("kept").get<bool>() ? log::styled("kept", "32") : log::styled("exceeded", "31;1")});
  }
  return rows.empty() ? "" : "\n" + log::styled("Budgets", "1") + "\n" + table(rows);
}

}  // namespace

std::string run_summary(const Json& result, const Json& more, const std::string& manifest) {
  std::string text;
  if (const Json train = result.value("train", Json::object()); train.contains("imported_from")) {
    text += "\n" + log::styled("Weights", "1") + "\n" +
            table({{"trained elsewhere, from", train["imported_from"].get<std::string>()}});
  } else if (result.contains("train")) {
    text += "\n" + log::styled("Training", "1") + "\n" +
            table({{"steps", with_commas(train.at("steps"))},
                   {"milliseconds a step, median", fixed(train.at("step_ms_median").get<double>(), 1)},
                   {"tokens a second", with_commas(static_cast<std::int64_t>(train.at("tokens_per_second").get<double>()))},
                   {"last loss, nats", fixed(result.at("metrics").at("train_loss").get<double>(), 4)},
                   {"peak memory, MB", with_commas(train.at("peak_memory_bytes").get<std::int64_t>() / 1000000)}});
  }
  text += scores(result.at("metrics"), more);
  if (result.contains("artifact")) {
    const Json& artifact = result["artifact"];
    text += "\n" + log::styled("Artifact", "1") + "\n" +
            table({{"model, bytes", with_commas(artifact.at("bytes"))},
                   {"compressed source, bytes", with_commas(artifact.at("code_bytes"))},
                   {"together, bytes", with_commas(artifact.at("total_bytes"))}});
  }
  text += budgets(more);
  const std::string folder = shown_path(result.at("directory"));
  const std::string id = result.at("run");
  text += "\nRun folder: " + folder + "\n";
  text += "Next:\n";
  if (result.contains("artifact")) {
    text += "  " + invoked() + " sample " + (folder.starts_with("runs/") ? id : folder) + " --prompt \"In the beginning\"\n";
    text += "  " + invoked() + " artifact info " + shown_path(result["artifact"].at("path")) + "\n";
  }
  text += "  " + invoked() + " run " + manifest + " compress.use=store   # only what depends on it is computed again\n";
  return text;
}

}  // namespace caddie::cli
