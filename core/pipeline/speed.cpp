#include "core/pipeline/speed.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>

#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/environment.h"
#include "core/base/files.h"
#include "core/base/hash.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kKept = 256;
constexpr double kAlike = 4;  // a model more than four times as large or small says little

fs::path file_of(const fs::path& cache) { return cache / "speed.json"; }

Json conditions(const Session& session) {
  const Json machine = environment_facts();
  return {{"device", session.device().is_cuda() ? machine.value("gpu", Json()) : machine.value("cpu", Json())},
          {"precision", precision_name(session.precision())},
          {"ranks", session.world()},
          {"threads", session.services().threads()}};
}

Json known_speeds(const fs::path& cache) {
  try {
    if (fs::exists(file_of(cache)))
      if (Json known = read_json(file_of(cache)); known.is_array()) return known;
  } catch (const Error&) {  // damaged: as if there were none
  }
  return Json::array();
}

bool alike(const Json& seen, const Json& here) {
  if (!seen.is_object()) return false;
  for (const auto& [key, value] : here.items())
    if (seen.value(key, Json()) != value) return false;
  return true;
}

Json stage_conditions(const Session& session, const std::string& stage) {
  Json entry = conditions(session);
  entry["stage"] = stage;
  entry["section"] = sha256(canonical(session.section(stage.c_str()))).substr(0, 16);
  return entry;
}

double parameters_of(Model& model) {
  double elements = 0;
  for (const Parameter& parameter : model.parameters()) elements += static_cast<double>(parameter.tensor.numel());
  return elements;
}

// `entry` with `figure`, in place of what was measured under the same conditions before.
void keep(const fs::path& cache, Json entry, const char* figure, double value) {
  Json kept = Json::array();
  for (Json& old : known_speeds(cache)) {
    if (!old.is_object() || (old.size() == entry.size() + 1 && alike(old, entry))) continue;
    kept.push_back(std::move(old));
  }
  entry[figure] = value;
  kept.push_back(std::move(entry));
  while (kept.size() > kKept) kept.erase(kept.begin());
  try {
    write_json(file_of(cache), kept);
  } catch (const Error&) {  // a full or read-only disk must not fail a run over this
  }
}

double matrix_speed(const Session& session) {
  // Without instructions for it, bfloat16 is a storage format and products are made in float32.
  const bool half = session.precision() == Precision::bfloat16 && (session.device().is_cuda() || cpu_has("avx512_bf16"));
  const std::int64_t n = session.device().is_cuda() ? 4096 : 512;
  const at::Tensor a = at::rand({n, n}, at::TensorOptions(session.device())).to(half ? at::kBFloat16 : at::kFloat);
  // One thread, times their number: on a busy machine threads that wait for each other would say nothing about a quiet one.
  const int threads = at::get_num_threads();
  if (session.device().is_cpu()) at::set_num_threads(1);
  double best = 1e9;
  for (int i = 0; i < 8; ++i) {
    const Stopwatch watch;
    at::mm(a, a).flatten()[0].item<float>();
    best = std::min(best, watch.seconds());
  }
  at::set_num_threads(threads);
  return (session.device().is_cpu() ? threads : 1) * 2.0 * std::pow(static_cast<double>(n), 3) / best;
}

}  // namespace

void remember_speed(const fs::path& cache, const Session& session, Model& model, const Json& train) {
  const double tokens_per_second = train.value("tokens_per_second", 0.0);
  if (tokens_per_second <= 0) return;
  Json entry = conditions(session);
  entry["flops_per_token"] = model.training_flops_per_token();
  keep(cache, entry, "flops_per_second", tokens_per_second * model.training_flops_per_token());
}

void remember_stage(const fs::path& cache, const Session& session, const std::string& stage, Model& model,
                    double seconds) {
  Json entry = stage_conditions(session, stage);
  entry["parameters"] = parameters_of(model);
  keep(cache, entry, "seconds", seconds);
}

std::optional<double> expected_stage(const fs::path& cache, const Session& session, const std::string& stage,
                                     Model& model) {
  const Json here = stage_conditions(session, stage);
  const double wanted = parameters_of(model);
  double nearest = std::log(kAlike);
  std::optional<double> seconds;
  for (const Json& seen : known_speeds(cache)) {
    if (!alike(seen, here) || seen.value("parameters", 0.0) <= 0) continue;
    const double ratio = wanted / seen["parameters"].get<double>(), distance = std::abs(std::log(ratio));
    if (distance <= nearest) nearest = distance, seconds = ratio * seen.value("seconds", 0.0);
  }
  return seconds;
}

double expected_speed(const fs::path& cache, const Session& session, Model& model) {
  const Json here = conditions(session);
  const double wanted = std::log(model.training_flops_per_token());
  double nearest = std::log(kAlike), speed = 0;
  for (const Json& seen : known_speeds(cache)) {
    if (!alike(seen, here) || seen.value("flops_per_token", 0.0) <= 0) continue;
    const double distance = std::abs(std::log(seen["flops_per_token"].get<double>()) - wanted);
    if (distance <= nearest) nearest = distance, speed = seen.value("flops_per_second", 0.0);
  }
  return speed > 0 ? speed : 0.5 * matrix_speed(session);
}

}  // namespace caddie::pipeline
