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

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kKept = 64;

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
    if (fs::exists(file_of(cache))) return read_json(file_of(cache));
  } catch (const Error&) {  // damaged: as if there were none
  }
  return Json::array();
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
  Json kept = Json::array();
  for (const Json& old : known_speeds(cache)) {
    Json same = entry;
    if (!old.is_object() || !old.contains("flops_per_second")) continue;
    same["flops_per_second"] = old["flops_per_second"];
    if (old != same) kept.push_back(old);
  }
  entry["flops_per_second"] = tokens_per_second * model.training_flops_per_token();
  kept.push_back(entry);
  while (kept.size() > kKept) kept.erase(kept.begin());
  try {
    write_json(file_of(cache), kept);
  } catch (const Error&) {  // a full or read-only disk must not fail a run over this
  }
}

double expected_speed(const fs::path& cache, const Session& session, Model& model) {
  const Json here = conditions(session);
  const double wanted = std::log(model.training_flops_per_token());
  double nearest = std::log(4.0), speed = 0;  // a model four times as large or small says little
  for (const Json& seen : known_speeds(cache)) {
    bool same = seen.is_object() && seen.value("flops_per_token", 0.0) > 0;
    for (const auto& [key, value] : here.items()) same = same && seen.value(key, Json()) == value;
    if (!same) continue;
    const double distance = std::abs(std::log(seen["flops_per_token"].get<double>()) - wanted);
    if (distance <= nearest) nearest = distance, speed = seen.value("flops_per_second", 0.0);
  }
  return speed > 0 ? speed : 0.5 * matrix_speed(session);
}

}  // namespace caddie::pipeline
