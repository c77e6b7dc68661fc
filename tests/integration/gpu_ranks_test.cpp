// Ranks over NCCL: every operation with one rank and with two, runs of two GPUs against one, and a rank that is killed. Says
// that it skips where there are too few GPUs or no NCCL.
#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "caddie/error.h"
#include "core/comm/launch.h"
#include "core/comm/nccl.h"
#include "tests/integration/ranks.h"
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

void expect(const at::Tensor& found, double value, const std::string& what) {
  CADDIE_CHECK(found.eq(value).all().item<bool>(), ErrorKind::failed, what, ": ", found.to(at::kDouble).min().item<double>(), " to ",
               found.to(at::kDouble).max().item<double>(), " in place of ", value);
}

// Every operation, on numbers whose sums are known and exact in every type.
void every_operation(Group& group, at::Device device) {
  c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
  const auto ranks = make_nccl_communicator(group, device);
  CADDIE_CHECK(ranks != nullptr && std::string(std::getenv("NCCL_NVLS_ENABLE")) == "0", ErrorKind::failed, "NCCL is not set up");
  const int size = group.size(), rank = group.rank();
  const double sum = size * (size + 1) / 2.0;
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    const auto options = at::TensorOptions(type).device(device);
    const std::string name = c10::toString(type);
    for (const std::int64_t count : {std::int64_t{1}, std::int64_t{1000}, std::int64_t{3} << 20}) {
      at::Tensor value = at::full({count}, rank + 1, options);
      ranks->all_reduce_sum(value);
      expect(value, sum, name + ", sum");
      at::Tensor started = at::full({count}, rank + 1, options);
      if (auto pending = ranks->start_all_reduce_sum(started)) pending->wait();
      expect(started, sum, name + ", started sum");
    }
    at::Tensor strided = at::full({64, 6}, rank + 1, options).transpose(0, 1);
    ranks->all_reduce_sum(strided);
    expect(strided, sum, name + ", sum of what is not contiguous");
    at::Tensor rows = at::full({size, 1000}, -1, options);
    rows.select(0, rank).fill_(rank + 1);
    ranks->all_gather(rows);
    for (int other = 0; other < size; ++other) expect(rows.select(0, other), other + 1, name + ", gathered");
    at::Tensor given = at::full({1000}, rank + 1, options);
    ranks->broadcast(given, size - 1);
    expect(given, size, name + ", broadcast");
  }
  at::Tensor host = at::full({3}, rank + 1.0, at::kDouble), host_rows = at::full({size, 2}, rank + 1.0, at::kDouble);
  ranks->all_reduce_sum(host);
  ranks->all_gather(host_rows);
  expect(host, sum, "sum in the host's memory");
  for (int other = 0; other < size; ++other) expect(host_rows.select(0, other), other + 1, "gathered in the host's memory");
  ranks->barrier();
}

// A run of `gpus` GPUs: its result.
Json run_on(const Workplace& place, const char* gpus, const std::vector<std::string>& more) {
  const Outcome outcome = place.caddie(join(join({"run", kTiny, "device=cuda", "train.stop.steps=20", "--gpus", gpus}, kExact), more));
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return result_of(outcome);
}

}  // namespace

TEST_CASE("every operation over NCCL with one rank") {
  if (skips(1)) return;
  testing::rethrow_first(testing::run_groups(1, [](Group& group) { every_operation(group, at::Device(at::kCUDA, 0)); }));
}

// One rank of the next test, in a process of its own.
TEST_CASE("a rank of two", "[.rank]") {
  const auto launch = detect_launch();
  REQUIRE(launch);
  Group group(*launch, GroupSettings::from_environment());
  every_operation(group, at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(launch->local_rank)));
  group.leave();
  SUCCEED();
}

TEST_CASE("every operation over NCCL with two ranks") {
  if (skips(2)) return;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const int port = free_port();
  std::vector<std::unique_ptr<Process>> processes;
  for (int rank = 0; rank < 2; ++rank)
    processes.push_back(std::make_unique<Process>(std::vector<std::string>{self, "[.rank]"}, hand_made(rank, port)));
  for (const auto& process : processes) {
    const Outcome outcome = process->wait(150);
    INFO(outcome.out << outcome.err);
    CHECK(outcome.exit_code == 0);
  }
}

TEST_CASE("two GPUs give what one gives") {
  if (skips(2)) return;
  const std::string precision = GENERATE("float32", "bfloat16");
  const bool exact = precision == "float32";
  CAPTURE(precision);
  const Workplace place;
  const Json one = run_on(place, "1", {"precision=" + precision}), two = run_on(place, "2", {"precision=" + precision});
  REQUIRE(losses_of(one).size() == 20);
  CHECK(worst_difference(losses_of(two), losses_of(one)) < (exact ? 5e-5 : 1e-3));
  for (const char* metric : {"val_bpb", "last_step_bpb"}) CHECK(difference(two, one, metric) < (exact ? 5e-5 : 1e-3));
  // The scores of other weights: the difference of the weights goes through 5-bit codes.
  for (const char* metric : {"roundtrip_bpb", "sliding_bpb", "ttt_bpb"}) CHECK(difference(two, one, metric) < 5e-3);
  for (const char* count : {"val_tokens", "val_bytes"}) CHECK(two["metrics"][count] == one["metrics"][count]);
  CHECK_FALSE(cached(two).at("train").get<bool>());  // the world size is part of the keys: nothing was taken from one for the other
}

TEST_CASE("the scores of given weights are those of one GPU") {
  if (skips(2)) return;
  const Workplace place;
  const Json trained = run_on(place, "1", {"precision=float32"});
  const std::string weights = place.path() / "weights.safetensors";
  const Outcome exported = place.caddie({"weights", "export", trained.at("run").get<std::string>(), "-o", weights});
  INFO(exported.err);
  REQUIRE(exported.exit_code == 0);
  const std::vector<std::string> scored = {"precision=float32", "--weights", weights};
  const Json one = run_on(place, "1", scored), two = run_on(place, "2", scored);
  for (const char* metric : {"val_bpb", "roundtrip_bpb", "sliding_bpb"}) CHECK(difference(two, one, metric) < 1e-5);
}

TEST_CASE("a rank killed on a GPU ends all within 10 s, the error names it, and --resume goes on") {
  if (skips(2)) return;
  const int rank = GENERATE(1, 0);
  CAPTURE(rank);
  const Workplace place;
  const std::vector<std::string> run = {"run", kTiny, "device=cuda", "train.stop.steps=600", "train.checkpoint.steps=4", "--until", "train", "--gpus", "2"};
  end_a_rank(place, run, rank, SIGKILL, 10, "it was ended by signal 9 (SIGKILL)");
  resume_after(place, run, 600);
}
