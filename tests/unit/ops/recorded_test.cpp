// Recorded steps where nothing can record: the work is simply done. On a GPU: tests/integration/gpu_paths_test.cpp.
#include "core/ops/recorded.h"

#include <ATen/ops/zeros.h>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

TEST_CASE("a step that cannot be recorded is done at every call") {
  ops::Recorded step(at::kCPU);
  auto sum = at::zeros({2});
  for (int i = 1; i <= 5; ++i) step.run([&] { sum.add_(i); });
  CHECK(sum[1].item<float>() == 15);
  CHECK_FALSE(step.repeats());
  step.reset();
  CHECK_THROWS_AS(step.run([] { throw Error(ErrorKind::failed, "no"); }), Error);
}
