#include "core/pipeline/precision.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>

#include <filesystem>

#include "core/base/clock.h"
#include "core/base/environment.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/pipeline/cache.h"

namespace caddie::pipeline {
namespace {

double best_seconds(const at::Tensor& a, const at::Tensor& b) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const Stopwatch watch;
    at::mm(a, b);
    best = std::min(best, watch.seconds());
  }
  return best;
}

bool measure_bfloat16_faster() {
  const at::Tensor a = at::rand({1024, 256}), b = at::rand({256, 1024});
  const double wide = best_seconds(a, b);
  const double narrow = best_seconds(a.to(at::kBFloat16), b.to(at::kBFloat16));
  return narrow * 1.5 < wide;
}

bool bfloat16_faster() {
  if (!cpu_has("avx512_bf16") && !cpu_has("amx_bf16")) return false;
  // Kept beside the stage cache: the measurement costs little, but its answer must not flip between two runs.
  const std::filesystem::path path = StageCache::default_root() / "machine.json";
  const Json facts = environment_facts();
  const std::string machine = facts.at("cpu").get<std::string>() + " / " + facts.at("libtorch").get<std::string>();
  try {
    const Json known = read_json(path);
    if (known.contains(machine)) return known.at(machine).at("bfloat16_faster").get<bool>();
  } catch (const std::exception&) {  // not there yet, or damaged: measured again
  }
  const bool faster = measure_bfloat16_faster();
  try {
    make_directories(path.parent_path());
    write_json(path, {{machine, {{"bfloat16_faster", faster}}}});
  } catch (const std::exception& error) {
    log::debug(error.what());
  }
  return faster;
}

}  // namespace

Precision resolve_precision(const std::string& wanted, at::Device device) {
  if (wanted == "bfloat16") return Precision::bfloat16;
  if (wanted == "float32") return Precision::float32;
  return device.is_cuda() || bfloat16_faster() ? Precision::bfloat16 : Precision::float32;
}

}  // namespace caddie::pipeline
