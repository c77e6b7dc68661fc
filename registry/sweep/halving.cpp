#include "registry/sweep/halving.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>

#include "caddie/error.h"
#include "core/base/files.h"
#include "registry/sweep/folder.h"

namespace caddie::registry {
namespace fs = std::filesystem;
namespace {

constexpr std::array<double, 2> kRungs = {0.25, 0.5};
constexpr std::size_t kLeast = 3;  // runs at a rung before one of them can be in the worse half

// How far a line of metrics.jsonl is in the training, in [0, 1].
double progress(const Json& line, const Json& stop) {
  double fraction = 0;
  if (stop.value("steps", Json()).is_number()) fraction = line.value("step", 0.0) / stop["steps"].get<double>();
  if (stop.value("seconds", Json()).is_number())
    fraction = std::max(fraction, line.value("elapsed_seconds", 0.0) / stop["seconds"].get<double>());
  return fraction;
}

// The last validation score up to the rung, else the mean training loss over the last fifth before it.
std::optional<double> curve_at(const std::vector<Json>& lines, const Json& stop, double rung) {
  std::optional<double> score;
  double sum = 0;
  int count = 0;
  bool reached = false;
  for (const Json& line : lines) {
    const double at = progress(line, stop);
    reached = reached || at >= rung;
    if (at > rung) break;
    for (const char* name : {"val_bpb", "val_loss"})
      if (line.contains(name) && line[name].is_number()) score = line[name].get<double>();
    if (at > 0.8 * rung && line.contains("train_loss") && line["train_loss"].is_number()) {
      sum += line["train_loss"].get<double>();
      ++count;
    }
  }
  if (!reached || (!score && count == 0)) return std::nullopt;
  return score ? *score : sum / count;
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

}  // namespace

Halving::Halving(std::vector<std::vector<pipeline::Need>> needs, std::string baseline)
    : needs_(std::move(needs)), baseline_(std::move(baseline)) {}

std::string Halving::train_token(std::size_t job) const {
  for (const pipeline::Need& need : needs_.at(job))
    if (need.stage == "train") return need.token;
  return {};
}

std::optional<double> Halving::loss_at(const SweepRecord& record, std::size_t job, std::size_t rung) {
  if (const auto known = known_.find({job, rung}); known != known_.end()) return known->second;
  const SweepJob& s = record.jobs[job];
  const fs::path metrics = record.runs / s.run / "metrics.jsonl";
  const fs::path manifest = SweepFolder(record.folder).manifest(s.job);
  std::error_code code;
  if (s.run.empty() || !fs::exists(metrics, code) || !fs::exists(manifest, code)) return std::nullopt;
  const Json stop = read_json(manifest).at("resolved").at("train").at("stop");
  const auto loss = curve_at(read_json_lines(metrics), stop, kRungs[rung]);
  if (loss) known_[{job, rung}] = *loss;
  return loss;
}

std::optional<std::string> Halving::operator()(const SweepRecord& record, const SweepJob& job) {
  const auto index = static_cast<std::size_t>(&job - record.jobs.data());
  const std::string token = train_token(index);
  if (job.variant == baseline_) return std::nullopt;
  if (const auto stopped = stopped_.find(token); stopped != stopped_.end()) return stopped->second;
  if (job.status != "running") return std::nullopt;
  for (std::size_t rung = 0; rung < kRungs.size(); ++rung) {
    const auto mine = loss_at(record, index, rung);
    if (!mine) continue;
    std::set<std::string> trainings{token};
    std::vector<double> losses{*mine};
    for (std::size_t other = 0; other < record.jobs.size(); ++other) {
      if (record.jobs[other].seed != job.seed || !trainings.insert(train_token(other)).second) continue;
      if (const auto loss = loss_at(record, other, rung))
        losses.push_back(*loss);
      else
        trainings.erase(train_token(other));
    }
    const auto is_better = [&](double loss) { return loss < *mine; };
    const auto better = static_cast<std::size_t>(std::count_if(losses.begin(), losses.end(), is_better));
    const std::size_t keep = (losses.size() + 1) / 2;
    if (losses.size() < kLeast || better < keep) continue;
    std::string reason = concat("halving: at ", static_cast<int>(kRungs[rung] * 100), " % of the training its loss ",
                                rounded(*mine), " is number ", better + 1, " of ", losses.size(), " (best ",
                                rounded(*std::min_element(losses.begin(), losses.end())), ")");
    if (!token.empty()) stopped_[token] = reason;
    return reason;
  }
  return std::nullopt;
}

}  // namespace caddie::registry
