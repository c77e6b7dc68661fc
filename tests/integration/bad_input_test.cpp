// Everything a person can get wrong, and what disks do: a clear error with the right exit code, and nothing lost.
#include <filesystem>
#include <fstream>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

void flip_byte(const fs::path& path, std::uintmax_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  char byte = 0;
  file.get(byte);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x20));
}

bool says(const Outcome& outcome, const std::string& text) { return outcome.err.find(text) != std::string::npos; }

}  // namespace

TEST_CASE("a wrong manifest is exit 2 with a suggestion, and leaves no run folder") {
  const Workplace place;
  struct Case {
    std::string override_text, expected;
  };
  const Case example = GENERATE(Case{"train.sequense=32", "did you mean 'sequence'"},
                                Case{"optimizers[match=matrix].use=muom", "did you mean 'muon'"},
                                Case{"optimizers[match=matrix].learning_rat=1", "did you mean 'learning_rate'"},
                                Case{"optimizers[match=matrx].learning_rate=1", "matrx"},
                                Case{"train.sequence=many", "train.sequence"}, Case{"model.layers=-3", "layers"},
                                Case{"quantize.tensors[match=matrix].bits=9", "bits"},
                                Case{"train.tokens_per_step=100", "tokens_per_step"});
  CAPTURE(example.override_text);
  const Outcome outcome = place.run({example.override_text});
  INFO(outcome.err);
  CHECK(outcome.exit_code == 2);
  CHECK(says(outcome, example.expected));
  CHECK(place.run_count() == 0);
  CHECK(outcome.out.empty());
}

TEST_CASE("usage errors") {
  const Workplace place;
  CHECK(place.caddie({"run", "no_such_manifest.yaml"}).exit_code == 2);
  CHECK(place.caddie({"runn"}).exit_code == 2);
  CHECK(place.caddie({"run"}).exit_code == 2);
  CHECK(place.run({"--until", "trian"}).exit_code == 2);
  CHECK(place.run({"--seeds", "1,x"}).exit_code == 2);
  CHECK(place.run_count() == 0);
}

TEST_CASE("wrong words are told with what was meant, and printed commands can be copied") {
  const Workplace place;
  const Process::Setup called{{"CADDIE_COMMAND=./caddie"}, {}, 0};
  const Outcome word = place.caddie({"runs", "lst"}, called), option = place.caddie({"runs", "list", "--limt", "3"}, called);
  CHECK(word.exit_code == 2);
  CHECK(says(word, "unknown command 'runs lst', did you mean 'runs list'?"));
  CHECK(says(word, "./caddie runs --help"));
  CHECK(option.exit_code == 2);
  CHECK(says(option, "unknown option '--limt', did you mean '--limit'?"));
  CHECK(says(option, "./caddie runs list --help"));
  CHECK(place.caddie({"sweep", "--help"}, called).out.find("\n  ./caddie sweep plan ") != std::string::npos);
  const Outcome kind = place.caddie({"sweep", "plan", kTiny});
  CHECK(kind.exit_code == 2);
  CHECK(says(kind, "this is a manifest of one run"));
}

TEST_CASE("the program starts without LibTorch: commands that need none answer at once") {
  const Outcome libraries = Process({"ldd", caddie_command({}).front()}, {}).wait(30);
  if (libraries.exit_code != 0) SKIP_TEST("no ldd");
  CHECK(libraries.out.find("libsqlite3") != std::string::npos);
  CHECK(libraries.out.find("torch") == std::string::npos);
}

TEST_CASE("a parameter that no optimizer matches, or two, is named") {
  const Workplace place;
  const Outcome none = place.run({"optimizers=[{match: matrix, use: muon}, {match: embedding, use: adamw}]"});
  INFO(none.err);
  CHECK(none.exit_code == 2);
  CHECK(says(none, "skip.weight"));
  const Outcome two = place.run({"optimizers=[{match: matrix, use: muon}, {match: embedding, use: adamw}, {match: vector, "
                                 "use: adamw}, {match: mlp, use: adamw}]"});
  CHECK(two.exit_code == 2);
  CHECK(says(two, "mlp.up.weight"));
}

TEST_CASE("missing and damaged data is exit 6") {
  const Workplace place;
  CHECK(place.run({"data.text=no_such_text.txt"}).exit_code == 6);
  const std::vector<std::string> shards = {"data.text=null", "data.train=[" + (place.path() / "t_*.bin").string() + "]",
                                           "data.validation=[" + (place.path() / "v_*.bin").string() + "]",
                                           "data.tokenizer=" + (place.path() / "t.model").string()};
  CHECK(place.run(shards).exit_code == 6);
  std::ofstream(place.path() / "t_0.bin") << std::string(2000, 'x');
  std::ofstream(place.path() / "v_0.bin") << std::string(2000, 'x');
  const Outcome broken = place.run(shards);
  INFO(broken.err);
  CHECK(broken.exit_code == 6);
}

TEST_CASE("a loss that is not finite stops the run and names step and tensor") {
  const Workplace place;
  const Outcome outcome = place.run({"optimizers[match=embedding].learning_rate=1e38", "train.warmup_steps=0"});
  INFO(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(says(outcome, "step"));
  CHECK(says(outcome, "not finite"));
  CHECK(result_of(outcome).at("status") == "failed");
}

TEST_CASE("an exceeded budget is exit 5 and the run is kept") {
  const Workplace place;
  const Outcome outcome = place.run({"budgets.artifact_bytes=1000", "--until", "compress"});
  INFO(outcome.err);
  CHECK(outcome.exit_code == 5);
  CHECK(result_of(outcome).at("status") == "budget");
}

TEST_CASE("a device that is not there is exit 7") {
  const Workplace place;
  CHECK(place.run({"device=cuda"}).exit_code == 7);
}

TEST_CASE("a damaged artifact is refused by every command that reads it") {
  const Workplace place;
  const Json result = result_of(place.run({"--until", "compress"}));
  const fs::path artifact = result.at("artifact").at("path").get<std::string>();
  CHECK(place.caddie({"artifact", "verify", artifact.string()}).exit_code == 0);
  const auto size = fs::file_size(artifact);
  const bool truncate = GENERATE(false, true);
  if (truncate)
    fs::resize_file(artifact, size - 100);
  else
    flip_byte(artifact, size / 2);
  CHECK(place.caddie({"artifact", "verify", artifact.string()}).exit_code == 6);
  CHECK(place.caddie({"eval", artifact.string(), kTiny}).exit_code == 6);
}

TEST_CASE("a damaged cache entry is a miss with a warning") {
  const Workplace place;
  const Json result = result_of(place.run());
  int damaged = 0;
  for (const auto& item : fs::recursive_directory_iterator(place.cache() / "train"))
    if (item.path().filename() == "weights.safetensors") {
      flip_byte(item.path(), fs::file_size(item.path()) - 7);
      ++damaged;
    }
  REQUIRE(damaged == 1);
  const Outcome outcome = place.run();
  CHECK(outcome.exit_code == 0);
  CHECK(says(outcome, "warning"));
  CHECK(cached(result_of(outcome)).at("train") == false);
  CHECK(cached(result_of(outcome)).at("quantize") == true);  // the same weights came out
  CHECK(result_of(outcome).at("metrics") == result.at("metrics"));
}

TEST_CASE("a full disk is a clear error, and finished stages are kept") {
  const Workplace place;
  REQUIRE(place.run({"--until", "data"}).exit_code == 0);
  Process::Setup setup;
  setup.file_size_limit = 60000;  // less than the weights
  const Outcome outcome = place.caddie({"run", kTiny}, setup);
  INFO(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(says(outcome, "cannot write"));
  for (const auto& item : fs::recursive_directory_iterator(place.cache())) CHECK(item.path().filename().string().find(".tmp.") != 0);
  const Outcome again = place.run();
  CHECK(again.exit_code == 0);
  CHECK(cached(result_of(again)).at("data") == true);
}

TEST_CASE("folders that cannot be written are said") {
  const Workplace place;
  std::ofstream(place.path() / "file") << "x";
  const std::string file = (place.path() / "file").string();
  const Outcome runs = caddie::test::caddie({"run", kTiny, "--runs", file + "/runs", "--cache", place.cache().string()});
  CHECK(runs.exit_code == 1);
  CHECK(says(runs, file));
  const Outcome cache = caddie::test::caddie({"run", kTiny, "--runs", place.runs().string(), "--cache", file + "/cache"});
  CHECK(cache.exit_code == 1);
  CHECK(says(cache, file));
}
