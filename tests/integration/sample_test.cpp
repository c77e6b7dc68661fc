// Text from a run and from its artifact alone.
#include <filesystem>

#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

TEST_CASE("a run's model goes on with a prompt, and so does its artifact alone") {
  const Workplace place;
  const Json result = result_of(place.run({"--until", "compress"}));
  const std::string run = result.at("run").get<std::string>();
  const fs::path kept = result.at("artifact").at("path").get<std::string>(), artifact = place.path() / "moved.caddie";
  fs::copy_file(kept, artifact);

  const auto sample = [&](const std::string& what, std::vector<std::string> more) {
    more.insert(more.begin(), {"sample", what, "--prompt", "In the", "--tokens", "12", "--count", "3"});
    return place.caddie(more);
  };
  const Outcome first = sample(run, {"--seed", "5"});
  INFO(first.err);
  REQUIRE(first.exit_code == 0);
  const Json texts = result_of(first).at("texts");
  REQUIRE(texts.size() == 3);
  CHECK(texts[0].get<std::string>().starts_with("In the"));
  CHECK(texts[0] != texts[1]);
  CHECK(result_of(sample(run, {"--seed", "5"})).at("texts") == texts);
  CHECK(result_of(sample(run, {"--seed", "6"})).at("texts") != texts);
  const Json greedy = result_of(sample(run, {"--temperature", "0"})).at("texts");
  CHECK(greedy[0] == greedy[1]);

  const Outcome bare = sample(artifact.string(), {});
  CHECK(bare.exit_code == 6);
  CHECK(bare.err.find("--tokenizer") != std::string::npos);
  const std::string tokenizer = (kept.parent_path() / "tokenizer.model").string();
  const Outcome alone = sample(artifact.string(), {"--seed", "5", "--tokenizer", tokenizer});
  INFO(alone.err);
  REQUIRE(alone.exit_code == 0);
  CHECK(result_of(alone).at("texts") == texts);
}

TEST_CASE("what cannot be sampled is said") {
  const Workplace place;
  CHECK(place.caddie({"sample", "no_such_run"}).exit_code == 2);
  const Json trained = result_of(place.run({"--until", "train"}));
  const Outcome early = place.caddie({"sample", trained.at("run").get<std::string>()});
  CHECK(early.exit_code == 6);
  CHECK(early.err.find("no artifact") != std::string::npos);
}
