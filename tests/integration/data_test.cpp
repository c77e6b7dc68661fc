// Data on the command line: odd text and a full disk while tokenizing, verify with a score's claim, and what doctor says
// of data that is not there.
#include <cmath>
#include <filesystem>
#include <fstream>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

// A tokenizer and a dataset of the test's text, made once.
struct Made {
  Workplace place;
  std::string model = (place.path() / "t.model").string(), dataset = (place.path() / "set").string();
  Json facts;
  Made() {
    const std::string text = CADDIE_SOURCE_DIR "/tests/integration/text.txt";
    const Outcome trained = place.caddie({"tokenizer", "train", text, "-o", model, "--vocabulary", "320"});
    INFO(trained.err);
    REQUIRE(trained.exit_code == 0);
    const Outcome made = tokenize({text, "-o", dataset, "--validation-share", "0.2"});
    INFO(made.err);
    REQUIRE(made.exit_code == 0);
    facts = result_of(made);
  }
  Outcome tokenize(std::vector<std::string> arguments, const Process::Setup& setup = {}) const {
    arguments.insert(arguments.begin(), {"data", "tokenize", "--tokenizer", model});
    return place.caddie(arguments, setup);
  }
};
const Made& made() {
  static const Made one;
  return one;
}

std::string claim(double loss, std::int64_t tokens, double bits) {
  char text[96];
  std::snprintf(text, sizeof text, "%.4f,%lld,%.4f", loss, static_cast<long long>(tokens), bits);
  return text;
}

}  // namespace

TEST_CASE("verify accepts a claim that implies the bytes of its targets, and refuses others") {
  const Json& validation = made().facts.at("validation");
  const std::int64_t targets = validation.at("tokens").get<std::int64_t>() - 1;
  // The first token is a document's bos: it stands for no byte, so the targets have all of them.
  const auto bytes = validation.at("bytes").get<double>();
  const double loss = 3.25, bits = loss / std::log(2.0) * static_cast<double>(targets) / bytes;
  const auto verify = [&](const std::string& triple) {
    return made().place.caddie({"data", "verify", made().dataset, "--claim", triple});
  };
  const Outcome good = verify(claim(loss, targets, bits));
  INFO(good.err);
  REQUIRE(good.exit_code == 0);
  const Json checked = result_of(good);
  CHECK(checked.at("claim").at("bytes").get<double>() == bytes);
  CHECK(std::abs(checked.at("claim").at("ratio").get<double>() - 1) < checked.at("claim").at("tolerance").get<double>());

  const Outcome other_bytes = verify(claim(loss, targets, bits * 1.01));
  CHECK(other_bytes.exit_code == 6);
  CHECK(other_bytes.out.empty());
  CHECK_THAT(other_bytes.err, Contains("the claim implies") && Contains("its " + std::to_string(targets) + " targets have"));
  const Outcome too_many = verify(claim(loss, targets + 1, bits));
  CHECK(too_many.exit_code == 6);
  CHECK_THAT(too_many.err, Contains("targets are claimed"));
  const Outcome no_claim = verify("3.25,many,1.1");
  CHECK(no_claim.exit_code == 2);
  CHECK_THAT(no_claim.err, Contains("accepted: LOSS,TOKENS,BPB"));
  CHECK(made().place.caddie({"data", "verify", (made().place.path() / "none").string()}).exit_code == 6);
}

TEST_CASE("odd documents are counted and said while tokenizing, and errors with --strict") {
  const Workplace place;
  const std::string input = (place.path() / "odd.jsonl").string();
  std::ofstream(input) << "{\"text\": \"one good document\"}\n{\"text\": \"\"}\n{\"text\": \"bad \xFF byte\"}\n{\"text\": \""
                       << std::string(300'000, 'x') << "\"}\n{\"text\": \"another\"}\n";
  const Outcome outcome = made().tokenize({input, "-o", (place.path() / "out").string(), "--max-document-bytes", "5000"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json reader = result_of(outcome).at("reader");
  CHECK(reader.at("documents") == 2);
  CHECK(reader.at("empty") == 1);
  CHECK(reader.at("invalid_utf8") == 1);
  CHECK(reader.at("too_long") == 1);
  CHECK_THAT(outcome.err, Contains("1 empty, 1 with invalid UTF-8, 1 too long") && Contains("odd.jsonl:2"));
  const Outcome strict = made().tokenize({input, "-o", (place.path() / "strict").string(), "--strict"});
  CHECK(strict.exit_code == 6);
  CHECK_THAT(strict.err, Contains("odd.jsonl:2: an empty document"));
  CHECK_FALSE(fs::exists(place.path() / "strict" / "dataset.json"));
}

TEST_CASE("a full disk while tokenizing is exit 1, and nothing lies under a final name") {
  const Workplace place;
  Process::Setup small;
  small.file_size_limit = 20'000;  // less than the shard; the tokenizer fits
  const std::string text = CADDIE_SOURCE_DIR "/tests/integration/text.txt", output = (place.path() / "out").string();
  const Outcome full = made().tokenize({text, "-o", output, "--validation-share", "0.2"}, small);
  INFO(full.err);
  CHECK(full.exit_code == 1);
  CHECK_THAT(full.err, Contains("cannot write"));
  for (const auto& item : fs::directory_iterator(output)) {
    CHECK_THAT(item.path().filename().string(), !Contains(".bin"));
    CHECK(item.path().filename() != "dataset.json");
  }
  const Outcome again = made().tokenize({text, "-o", output, "--validation-share", "0.2"});
  CHECK(again.exit_code == 0);
  CHECK(result_of(again).at("train").at("shards") == made().facts.at("train").at("shards"));
}

TEST_CASE("doctor says what is missing; asked for a manifest, its exit code does too") {
  const Workplace place;
  const std::vector<std::string> hub = {"HF_HUB_CACHE=" + (place.path() / "hub").string()};
  const auto doctor = [&](std::vector<std::string> manifests) {
    manifests.insert(manifests.begin(), "doctor");
    return place.caddie(manifests, {hub, {}, 0});
  };
  const std::string absent = (place.path() / "absent.yaml").string(), wrong = (place.path() / "wrong.yaml").string();
  std::ofstream(absent) << "extends: " << kTiny << "\nname: absent\ndata: {text: null, train: nowhere_*.bin, validation: "
                        << "nowhere_*.bin, tokenizer: nowhere.model, vocabulary: 320}\n";
  std::ofstream(wrong) << "extends: " << kTiny << "\nname: wrong\ntrian: {}\n";

  const Outcome machine = doctor({});
  INFO(machine.err);
  REQUIRE(machine.exit_code == 0);
  for (const char* key : {"cpu", "cores", "libtorch", "gpus", "missing"}) CHECK(result_of(machine).contains(key));

  const Outcome here = doctor({kTiny});
  CHECK(here.exit_code == 0);
  CHECK(result_of(here).at("data").at(kTiny) == "its data is here");

  const Outcome reference = doctor({CADDIE_SOURCE_DIR "/experiments/reference.yaml"});
  CHECK(reference.exit_code == 6);
  CHECK_THAT(reference.out, Contains("missing: the dataset idan3011/parameter-golf-sp4096") &&
                                Contains("caddie data pull idan3011/parameter-golf-sp4096"));

  const Outcome shards = doctor({kTiny, absent});
  CHECK(shards.exit_code == 6);
  CHECK_THAT(result_of(shards).at("data").at(absent).get<std::string>(), Contains("nowhere_*.bin"));

  const Outcome unreadable = doctor({absent, wrong});
  CHECK(unreadable.exit_code == 2);
  CHECK_THAT(unreadable.out, Contains("trian"));
}
