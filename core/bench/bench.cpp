#include "core/bench/bench.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "caddie/error.h"
#include "core/base/environment.h"
#include "core/base/files.h"
#include "core/bench/measure.h"
#include "core/bench/shapes.h"
#include "core/data/shards.h"

namespace caddie::bench {
namespace fs = std::filesystem;

Bench::Bench(const Options& options, const std::shared_ptr<const Catalogue>& catalogue) : options_(options) {
  std::string place = (fs::temp_directory_path() / "caddie-bench-XXXXXX").string();
  CADDIE_CHECK(mkdtemp(place.data()), ErrorKind::environment, "no temporary folder can be made in ",
               fs::temp_directory_path().string());
  folder_ = place;
  try {
    const fs::path file = folder_ / (options.shape + ".yaml");
    write_atomic(file, shape_manifest(options.shape));
    session_ = std::make_unique<pipeline::Session>(load_manifest(file, options.overrides, *catalogue), catalogue, options.ranks);
  } catch (...) {
    fs::remove_all(folder_);
    throw;
  }
}

Bench::~Bench() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::shared_ptr<Model> Bench::model() const {
  const at::NoGradGuard no_gradients;
  auto model = session_->create_model(vocabulary(), session_->device());
  Random random(session_->seed(), "initial weights");
  model->initialize(random);
  // Output projections start at zero: scores, codes and samples of such a model would be cheaper than real ones.
  for (const Parameter& parameter : model->parameters()) {
    if (parameter.role != Role::matrix || parameter.tensor.any().item<bool>()) continue;
    at::Tensor values = at::empty(parameter.tensor.sizes(), at::kFloat);
    Random stream = random.split(parameter.name);
    float* numbers = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i) numbers[i] = static_cast<float>(0.02 * stream.normal());
    at::Tensor value = parameter.tensor.detach();
    value.copy_(values);
  }
  model->prepare(false);
  return model;
}

at::Tensor Bench::tokens(std::int64_t count, const char* purpose) const {
  Random random(session_->seed(), purpose);
  at::Tensor tokens = at::empty({count}, at::kLong);
  auto* ids = tokens.mutable_data_ptr<std::int64_t>();
  const auto pieces = static_cast<std::uint64_t>(vocabulary());
  for (std::int64_t i = 0; i < count; ++i) ids[i] = static_cast<std::int64_t>(random.below(pieces));
  return tokens;
}

eval::Text Bench::text(std::int64_t targets) const {
  return {tokens(targets + 1, "text"), at::full({targets}, 3, at::kLong)};
}

fs::path Bench::shard(std::int64_t count) const {
  const at::Tensor ids = tokens(count, "shard");
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  const auto* from = ids.const_data_ptr<std::int64_t>();
  std::transform(from, from + count, values.begin(), [](std::int64_t id) { return static_cast<std::uint16_t>(id); });
  const fs::path file = folder_ / "bench_train_000000.bin";
  data::write_shard(file, values);
  return file;
}

Json Bench::head(const std::string& part) const {
  const Json machine = environment_facts();
  Json head = {{"bench", part},
               {"shape", options_.shape},
               {"device", session_->device().is_cuda() ? "cuda" : "cpu"},
               {"precision", pipeline::precision_name(session_->precision())},
               {"threads", session_->services().threads()}};
  for (const char* fact : {"cpu", "gpu", "libtorch", "caddie", "git_commit"})
    if (machine.contains(fact)) head[fact] = machine.at(fact);
  return head;
}

void Bench::add_memory(Json& result) const { result["peak_memory_bytes"] = peak_memory_bytes(session_->device()); }

void Bench::record_kernels() {
  if (options_.kernels && !kernels_) kernels_ = std::make_unique<ops::KernelRecord>(session_->device());
}

void Bench::add_kernels(Json& result, std::int64_t times) {
  if (!kernels_) return;
  const auto runs = kernels_->finish();
  if (runs.empty()) return;
  const auto sums = ops::sum_kernels(runs);
  const auto share = 1.0 / static_cast<double>(times);
  result["kernels"] = Json::array();
  for (const auto& sum : sums.kernels)
    result["kernels"].push_back({{"name", sum.name}, {"calls", static_cast<double>(sum.calls) * share}, {"ms", sum.milliseconds * share}});
  result["kernels_busy_ms"] = sums.busy_milliseconds * share;
  result["kernels_idle_ms"] = sums.idle_milliseconds * share;
}

const std::vector<Part>& parts() {
  static const std::vector<Part> list = {
      {"train", "steps of the trainer that `run` uses: fake quantization, Muon, averages, loader; with --ranks or --gpus also what communication costs", true, train},
      {"eval", "flat scores", false, eval_flat},
      {"sliding", "scores of overlapping windows, stride 64", false, sliding},
      {"ttt", "one chunk of score-first test-time training: its score, and its epochs", false, ttt},
      {"generate", "self-generated calibration tokens, with the key/value cache and without", false, generate},
      {"gptq", "Hessians and GPTQ of all matrices", false, gptq},
      {"compress", "the artifact: brotli on one thread and on all, reading and decoding", false, compress},
      {"load", "the loader alone", false, load},
      {"first-step", "from the start of a new process to the end of its first training step", false, first_step},
      {"ops", "each operation, forward and backward, against its oracle", false, ops},
  };
  return list;
}

}  // namespace caddie::bench
