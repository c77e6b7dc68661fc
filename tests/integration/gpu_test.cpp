// The same training on a CPU and on a GPU, in float32: the same code, the same losses.
#include <ATen/Context.h>

#include <cmath>
#include <filesystem>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

std::vector<double> losses(const std::string& device) {
  const Workplace place;
  const Outcome outcome = place.run({"device=" + device, "precision=float32", "train.stop.steps=20", "train.fake_quant=[]",
                                     "optimizers[match=matrix].newton_schulz_precision=float32", "--until", "train"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  std::vector<double> all;
  for (const Json& line : read_json_lines(fs::path(result_of(outcome).at("directory").get<std::string>()) / "metrics.jsonl"))
    all.push_back(line.at("train_loss"));
  return all;
}

}  // namespace

TEST_CASE("CPU and GPU train alike") {
  if (!at::hasCUDA() || at::detail::getCUDAHooks().deviceCount() == 0) {
    SKIP_TEST("no GPU is visible, or this build of LibTorch has no CUDA");
  }
  const std::vector<double> cpu = losses("cpu"), gpu = losses("cuda");
  REQUIRE(cpu.size() == 20);
  REQUIRE(gpu.size() == 20);
  for (std::size_t i = 0; i < cpu.size(); ++i) CHECK(std::abs(cpu[i] - gpu[i]) <= 1e-4 * cpu[i]);
}
