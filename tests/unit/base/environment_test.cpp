#include "core/base/environment.h"

#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/scratch.h"

using namespace caddie;

TEST_CASE("the GPUs' models are read from the driver's list, each once") {
  const test::ScratchFolder scratch;
  const auto list = scratch.path() / "gpus";
  CHECK(gpu_models(list).empty());
  for (const auto& [place, model] : {std::pair{"0000:02:00.0", "NVIDIA B"}, {"0000:01:00.0", "NVIDIA A"}, {"0000:03:00.0", "NVIDIA B"}}) {
    std::filesystem::create_directories(list / place);
    std::ofstream(list / place / "information") << "Model: \t\t " << model << "\nIRQ:   \t\t 16\n";
  }
  std::filesystem::create_directories(list / "0000:04:00.0");  // says nothing
  CHECK(gpu_models(list) == "NVIDIA A, NVIDIA B");
}
