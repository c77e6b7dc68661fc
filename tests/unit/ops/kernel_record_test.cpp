// Sums of recorded kernels, and that a CPU records none. What a GPU records is tested by gpu_paths.
#include "core/ops/kernel_record.h"

#include "tests/support/catch.h"

using namespace caddie;

TEST_CASE("kernels are summed by name; time with two of them counts once, and gaps are idle") {
  const auto sums = ops::sum_kernels({{"a", 0, 2000000, 7}, {"b", 1000000, 3000000, 8}, {"a", 6000000, 1000000, 7}, {"c", 6500000, 100000, 8}});
  REQUIRE(sums.kernels.size() == 3);
  CHECK(sums.kernels[0].name == "a");  // equals keep the order of their names
  CHECK(sums.kernels[0].calls == 2);
  CHECK(sums.kernels[0].milliseconds == Approx(3));
  CHECK(sums.kernels[1].name == "b");
  CHECK(sums.busy_milliseconds == Approx(5));
  CHECK(sums.idle_milliseconds == Approx(2));
  CHECK(ops::sum_kernels({}).kernels.empty());
}

TEST_CASE("a CPU records no kernels") {
  ops::KernelRecord record(at::kCPU);
  CHECK(record.finish().empty());
}
