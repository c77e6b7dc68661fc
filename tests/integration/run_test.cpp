// A run from one manifest to one verdict: every stage, the cache, the record, an artifact scored alone.
#include <chrono>
#include <filesystem>

#include "core/base/files.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

TEST_CASE("a run goes through every stage, and the second one takes all of it from the cache") {
  const Workplace place;
  const Outcome first = place.run();
  INFO(first.err);
  REQUIRE(first.exit_code == 0);
  const Json result = result_of(first);
  CHECK(result.at("status") == "ok");
  const Json& metrics = result.at("metrics");
  for (const char* name : {"train_loss", "last_step_bpb", "val_bpb", "roundtrip_bpb", "sliding_bpb", "ttt_bpb"})
    CHECK(metrics.at(name).get<double>() > 0);
  CHECK(metrics.at("val_tokens") == 1024);
  CHECK(metrics.at("val_bytes").get<int>() > 1024);
  CHECK(result.at("train").at("steps") == 24);
  CHECK_FALSE(result.at("train").contains("resumed_from_step"));
  CHECK(result.at("artifact").at("total_bytes").get<int>() ==
        result.at("artifact").at("bytes").get<int>() + result.at("artifact").at("code_bytes").get<int>());
  CHECK(cached(result) == Json{{"data", false}, {"train", false}, {"quantize", false}, {"compress", false},
                               {"evaluate", false}, {"ttt", false}});

  const fs::path folder = result.at("directory").get<std::string>();
  CHECK(fs::file_size(result.at("artifact").at("path").get<std::string>()) == result.at("artifact").at("bytes"));
  for (const char* name : {"manifest.yaml", "resolved.json", "overrides.txt", "plugins.json", "environment.json",
                           "status.json", "metrics.jsonl", "log.txt", "ledger.jsonl", "result.json", "stages/train.json"})
    CHECK(fs::exists(folder / name));
  CHECK(read_json_lines(folder / "metrics.jsonl").size() == 24);
  CHECK_FALSE(fs::exists(folder / "checkpoint"));

  const auto start = std::chrono::steady_clock::now();
  const Json again = result_of(place.run());
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 15);  // not a timing: no work
  const Json hits = cached(again);
  for (const auto& [stage, hit] : hits.items()) {
    CAPTURE(stage);
    CHECK(hit == true);
  }
  CHECK(again.at("metrics") == metrics);
  CHECK(place.run_count() == 2);
}

TEST_CASE("a change computes what depends on it and nothing else") {
  const Workplace place;
  REQUIRE(place.run().exit_code == 0);
  CHECK(cached(result_of(place.run({"compress.use=store"}))) ==
        Json{{"data", true}, {"train", true}, {"quantize", true}, {"compress", false}, {"evaluate", true}, {"ttt", true}});
  const Json rounded = cached(result_of(place.run({"quantize.tensors[match=matrix].use=round"})));
  CHECK(rounded == Json{{"data", true}, {"train", true}, {"quantize", false}, {"compress", false}, {"evaluate", false},
                        {"ttt", false}});
  const Json seeded = cached(result_of(place.run({"seed=8", "--until", "train"})));
  CHECK(seeded == Json{{"data", true}, {"train", false}});
  const Json forced = cached(result_of(place.run({"--from", "evaluate"})));
  CHECK(forced == Json{{"data", true}, {"train", true}, {"quantize", true}, {"compress", true}, {"evaluate", false},
                       {"ttt", false}});
}

TEST_CASE("an artifact alone gives the run's scores to the last digit") {
  const Workplace place;
  const Json result = result_of(place.run());
  const Outcome alone = place.caddie({"eval", result.at("artifact").at("path").get<std::string>(), kTiny});
  INFO(alone.err);
  REQUIRE(alone.exit_code == 0);
  const Json metrics = result_of(alone);
  for (const char* name : {"roundtrip_bpb", "sliding_bpb", "ttt_bpb", "val_tokens", "val_bytes"})
    CHECK(metrics.at(name) == result.at("metrics").at(name));
}

TEST_CASE("plan says what would be computed, and writes nothing") {
  const Workplace place;
  const Outcome before = place.caddie({"plan", kTiny, "--detailed-exitcode"});
  INFO(before.err);
  CHECK(before.exit_code == 3);
  const Json cold = result_of(before);
  CHECK(cold.at("parameters").get<int>() > 20000);
  CHECK(cold.at("fits") == true);
  CHECK(cold.at("stages").at(0).at("cached") == false);
  CHECK(cold.at("stages").at(1).at("key").is_null());
  CHECK_FALSE(fs::exists(place.cache()));
  CHECK_FALSE(fs::exists(place.runs()));
  const Json narrow = result_of(place.caddie({"plan", kTiny, "budgets.artifact_bytes=1000"}));
  CHECK(narrow.at("fits") == false);
  CHECK(narrow.at("notes").dump().find("over budgets.artifact_bytes=1000") != std::string::npos);

  const Json result = result_of(place.run());
  // The next prediction is what this training reached.
  const Json expected = result_of(place.caddie({"plan", kTiny})).at("predicted");
  const fs::path resolved = fs::path(result.at("directory").get<std::string>()) / "resolved.json";
  const double tokens_per_step = read_json(resolved).at("train").at("tokens_per_step").get<double>();
  CHECK(expected.at("step_seconds").get<double>() ==
        Approx(tokens_per_step / result.at("train").at("tokens_per_second").get<double>()).epsilon(1e-6));
  const Outcome after = place.caddie({"plan", kTiny, "--detailed-exitcode"});
  CHECK(after.exit_code == 0);
  const Json warm = result_of(after);
  for (std::size_t i = 0; i < warm.at("stages").size(); ++i) {
    CHECK(warm["stages"][i].at("cached") == true);
    CHECK(warm["stages"][i].at("key") == result["stages"][i].at("key"));
  }
  const double predicted = warm.at("predicted").at("artifact_bytes").get<double>();
  CHECK(predicted == Approx(result.at("artifact").at("bytes").get<double>()).epsilon(0.15));  // small tensors, few of them
}

TEST_CASE("several seeds are several runs") {
  const Workplace place;
  const Outcome both = place.run({"--seeds", "1,2", "--until", "train"});
  INFO(both.err);
  CHECK(both.exit_code == 0);
  CHECK(place.run_count() == 2);
  const auto line = both.out.find('\n');
  const Json first = Json::parse(both.out.substr(0, line));
  CHECK(first.at("metrics") != result_of(both).at("metrics"));
}

TEST_CASE("sections that a manifest leaves out are stages that are absent") {
  const Workplace place;
  const Outcome outcome = place.run({"quantize=null", "compress=null", "ttt=null"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json result = result_of(outcome);
  CHECK(cached(result) == Json{{"data", false}, {"train", false}, {"evaluate", false}});
  CHECK(result.at("metrics").contains("val_bpb"));
  CHECK_FALSE(result.at("metrics").contains("roundtrip_bpb"));
  CHECK_FALSE(result.contains("artifact"));
  CHECK(place.caddie({"plan", kTiny, "quantize=null", "compress=null", "ttt=null"}).exit_code == 0);
  CHECK(cached(result_of(place.run({"evaluate=null", "ttt=null"}))).contains("evaluate") == false);
}
