// Weights out of a run and into another one: the names in the file, PyTorch's view of it, scores that agree, faults that
// are told; and test-time training without any other score.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/base/files.h"
#include "core/base/safetensors.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

// The file's header, read by hand: 8 bytes of length, then JSON.
Json header_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::uint64_t size = 0;
  in.read(reinterpret_cast<char*>(&size), 8);
  REQUIRE(size < fs::file_size(file));
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  return Json::parse(text);
}

}  // namespace

TEST_CASE("exported weights have the model's names, PyTorch reads them, and imported they give the same artifact and scores") {
  const Workplace place;
  const Outcome trained = place.run();
  INFO(trained.err);
  REQUIRE(trained.exit_code == 0);
  const Json result = result_of(trained);
  const std::string run = result.at("run"), file = (place.path() / "weights.safetensors").string();
  const Outcome exported = place.caddie({"weights", "export", run, "-o", file});
  INFO(exported.err);
  REQUIRE(exported.exit_code == 0);

  const Json header = header_of(file);
  CHECK(header.at("embedding.weight").at("dtype") == "F32");
  CHECK(header.at("embedding.weight").at("shape") == Json{320, 32});
  CHECK(header.at("blocks.2.mlp.down.weight").at("shape") == Json{32, 64});
  CHECK(header.at("__metadata__").at("format") == "pt");
  CHECK(Json::parse(header.at("__metadata__").at("caddie_model").get<std::string>()).at("use") == "unet_gpt");

  if (std::system("python3 -c 'import torch, safetensors.torch' > /dev/null 2>&1") == 0) {
    const std::string script = "import sys, safetensors.torch as s\n"
                               "w = s.load_file(sys.argv[1])\n"
                               "e = w['embedding.weight']\n"
                               "print(len(w), list(e.shape), e.dtype, float(e.double().sum()))\n";
    write_atomic(place.path() / "read.py", script);
    const std::string command = "python3 " + (place.path() / "read.py").string() + " " + file + " > " +
                                (place.path() / "said").string();
    REQUIRE(std::system(command.c_str()) == 0);
    std::istringstream said(read_text(place.path() / "said"));
    std::size_t count = 0;
    std::string rows, columns, type;
    double sum = 0;
    said >> count >> rows >> columns >> type >> sum;
    CHECK(count + 1 == header.size());
    CHECK((rows + columns + type) == "[320,32]torch.float32");
    const auto own = SafetensorsReader(file).tensor("embedding.weight").to(at::kDouble).sum().item<double>();
    CHECK(sum == Approx(own).epsilon(1e-9));
  } else {
    WARN("skipped: python3 has no torch and safetensors; the file's header alone was checked");
  }

  const Outcome imported = place.run({"--weights", file});
  INFO(imported.err);
  REQUIRE(imported.exit_code == 0);
  const Json again = result_of(imported);
  for (const char* name : {"val_bpb", "roundtrip_bpb", "sliding_bpb", "ttt_bpb"})
    CHECK(again.at("metrics").at(name) == result.at("metrics").at(name));
  CHECK_FALSE(again.at("metrics").contains("train_loss"));
  CHECK_FALSE(again.at("metrics").contains("last_step_bpb"));
  CHECK(again.at("train").at("steps") == 0);
  CHECK(cached(again).at("train") == false);
  CHECK(cached(again).at("quantize") == true);  // the same weights by their hash
}

TEST_CASE("weights import checks names, shapes and types, and says all faults at once") {
  const Workplace place;
  const Json result = result_of(place.run({"--until", "train"}));
  const fs::path good = place.path() / "good.safetensors", bad = place.path() / "bad.safetensors";
  REQUIRE(place.caddie({"weights", "export", result.at("run").get<std::string>(), "--last", "-o", good.string()}).exit_code == 0);
  NamedTensors weights = read_safetensors(good);
  // float16 and bfloat16 are fine.
  for (auto& [name, value] : weights)
    if (name == "embedding.weight") value = value.to(at::kBFloat16);
  write_safetensors(bad, weights);
  const Outcome half = place.caddie({"weights", "import", bad.string(), kTiny});
  INFO(half.err);
  CHECK(half.exit_code == 0);
  CHECK(result_of(half).at("train").at("imported_from") == bad.string());

  for (auto& [name, value] : weights) {
    if (name == "embedding.weight") value = value.narrow(0, 0, 300);
    if (name == "blocks.0.mlp.up.weight") value = value.to(at::kInt);
    if (name == "blocks.1.mlp.up.weight") value = value.div(0);
    if (name == "blocks.2.mlp.up.weight") name = "layers.2.mlp.up.weight";
  }
  write_safetensors(bad, weights);
  const Outcome refused = place.caddie({"weights", "import", bad.string(), kTiny});
  CHECK(refused.exit_code == 6);
  for (const char* text : {"missing (1): blocks.2.mlp.up.weight", "unknown to the model (1): layers.2.mlp.up.weight",
                           "embedding.weight is 300x32, the model's is 320x32", "blocks.0.mlp.up.weight is Int",
                           "not finite as float32 (1): blocks.1.mlp.up.weight"})
    CHECK_THAT(refused.err, Catch::Contains(text));
  CHECK(place.caddie({"weights", "import", (place.path() / "none").string(), kTiny}).exit_code == 6);
  write_atomic(bad, "no safetensors");
  CHECK(place.caddie({"weights", "import", bad.string(), kTiny}).exit_code == 6);
  CHECK(place.caddie({"weights", "export", "2099", "-o", bad.string()}).exit_code == 2);
}

TEST_CASE("test-time training without an evaluate section scores with its defaults") {
  const Workplace place;
  const Outcome alone = place.run({"evaluate=null", "ttt.chunk=1024"});
  INFO(alone.err);
  REQUIRE(alone.exit_code == 0);
  const Json result = result_of(alone);
  CHECK(result.at("metrics").contains("ttt_bpb"));
  CHECK_FALSE(result.at("metrics").contains("val_bpb"));
  const Outcome plan = place.caddie({"plan", kTiny, "evaluate=null"});
  CHECK(plan.exit_code == 0);
  const Outcome eval = place.caddie({"eval", result.at("artifact").at("path").get<std::string>(), kTiny, "evaluate=null",
                                     "ttt.chunk=1024"});
  INFO(eval.err);
  CHECK(eval.exit_code == 0);
  CHECK(result_of(eval).at("ttt_bpb") == result.at("metrics").at("ttt_bpb"));
}
