// Ranks over NCCL: the communicator with one rank, and runs of several GPUs where there are several. Says that it skips
// where there is no GPU or no NCCL.
#include <ATen/Context.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdlib>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/comm/nccl.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"
#include "tests/support/thread_group.h"

using namespace caddie;
using namespace caddie::test;

namespace {

int gpus() { return at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0; }

bool skips(int needed) {
  SUCCEED();  // a skip is no failure
  if (!nccl_available()) {
    WARN("skipped: this build has no NCCL");
    return true;
  }
  if (gpus() < needed) {
    WARN("skipped: " << gpus() << " GPUs are visible, " << needed << " are needed");
    return true;
  }
  return false;
}

}  // namespace

TEST_CASE("every operation over NCCL with one rank") {
  if (skips(1)) return;
  testing::rethrow_first(testing::run_groups(1, [](Group& group) {
    const at::Device device(at::kCUDA, 0);
    const auto ranks = make_nccl_communicator(group, device);
    CADDIE_CHECK(ranks != nullptr && std::string(std::getenv("NCCL_NVLS_ENABLE")) == "0", ErrorKind::failed, "NCCL is not set up");
    at::Tensor value = at::full({1000}, 2.0f, at::TensorOptions(at::kFloat).device(device));
    ranks->all_reduce_sum(value);
    if (auto pending = ranks->start_all_reduce_sum(value)) pending->wait();
    at::Tensor half = value.to(at::kBFloat16).view({1, 1000});
    ranks->all_gather(half);
    ranks->broadcast(value, 0);
    at::Tensor host = at::full({3}, 5.0, at::kDouble);  // goes through the GPU and back
    ranks->all_reduce_sum(host);
    ranks->barrier();
    CADDIE_CHECK(value.eq(2).all().item<bool>() && half.eq(2).all().item<bool>() && host.eq(5).all().item<bool>(), ErrorKind::failed,
                 "one rank's sum is not what it gave");
  }));
}

TEST_CASE("two GPUs give what one gives") {
  if (skips(2)) return;
  const Workplace place;
  const std::vector<std::string> common = {"run", kTiny, "device=cuda", "train.stop.steps=12", "train.fake_quant=[]", "precision=float32",
                                           "optimizers[match=matrix].newton_schulz_precision=float32"};
  const auto with = [&](const char* count) {
    std::vector<std::string> command = common;
    command.insert(command.end(), {"--gpus", count});
    const Outcome outcome = place.caddie(command);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return result_of(outcome);
  };
  const Json one = with("1"), two = with("2");
  CHECK(std::abs(two["metrics"]["train_loss"].get<double>() / one["metrics"]["train_loss"].get<double>() - 1) < 1e-3);
  CHECK(std::abs(two["metrics"]["val_bpb"].get<double>() / one["metrics"]["val_bpb"].get<double>() - 1) < 1e-3);
}
