// From runs to a submission folder that a stranger can check, and tampering that the check finds; compare, runs and
// cache on the same runs.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/base/files.h"
#include "core/base/hash.h"
#include "tests/integration/workplace.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

void copy_folder(const fs::path& from, const fs::path& to) {
  fs::remove_all(to);
  fs::copy(from, to, fs::copy_options::recursive);
}

// Makes files.json agree with what is there: a forger would.
void list_again(const fs::path& folder) {
  Json files = Json::object();
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(item.path(), folder).generic_string();
    if (item.is_regular_file() && name != "files.json")
      files[name] = {{"bytes", item.file_size()}, {"sha256", sha256_file(item.path())}};
  }
  write_json(folder / "files.json", files);
}

std::string failed_checks(const Json& result) {
  std::string names;
  for (const Json& check : result.at("checks"))
    if (check.at("status") == "failed") names += check.at("check").get<std::string>() + ";";
  return names;
}

}  // namespace

TEST_CASE("runs, compare, pack and verify on three seeds; tampering is found") {
  const Workplace place;
  const Outcome runs = place.run({"--seeds", "1,2,3"});
  INFO(runs.err);
  REQUIRE(runs.exit_code == 0);
  REQUIRE(place.run({"--seeds", "1,2,3", "name=stored", "compress.use=store"}).exit_code == 0);

  // The registry.
  const Json list =
      result_of(place.caddie({"runs", "list", "--where", "compressor=store and seed>1", "--sort", "val_bpb"}));
  CHECK(list.at("runs").size() == 2);
  CHECK(place.caddie({"runs", "list", "--where", "val_bqb<1"}).exit_code == 2);
  const Json groups = result_of(place.caddie({"runs", "list", "--group-by", "all-but-seed"}));
  CHECK(groups.at("groups").size() == 2);
  const std::string tiny =
      result_of(place.caddie({"runs", "list", "--where", "name=tiny and seed=1"})).at("runs").at(0).at("run");
  const std::string stored =
      result_of(place.caddie({"runs", "list", "--where", "name=stored and seed=1"})).at("runs").at(0).at("run");
  const Json diff = result_of(place.caddie({"runs", "diff", tiny, stored}));
  CHECK(diff.at("stages").at(3).at("first").get<std::string>().starts_with("compressor.plugin."));
  const Json why = result_of(place.caddie({"stage", "explain", stored, "compress"}));
  CHECK(why.at("cached") == false);
  CHECK(why.at("other").at("run") == tiny);
  CHECK(result_of(place.caddie({"stage", "explain", stored, "train"})).at("cached") == true);

  // A lossless compressor changes no score.
  const Json comparison = result_of(place.caddie({"compare", "tiny", "stored", "--baseline", "tiny"}));
  const Json& row = comparison.at("rows").at(1);
  CHECK(row.at("name") == "stored");
  CHECK(row.at("n") == 3);
  CHECK(row.at("difference") == 0);
  CHECK(row.at("p") == 1);
  CHECK(row.at("paired") == true);
  REQUIRE(place.run({"name=shorter", "evaluate.tokens=512", "seed=1"}).exit_code == 0);
  CHECK(place.caddie({"compare", "tiny", "shorter"}).exit_code == 2);

  // The cache.
  const Json cache = result_of(place.caddie({"cache", "list"}));
  CHECK(cache.at("entries").size() > 10);
  const Json dry = result_of(place.caddie({"cache", "gc", "--max-size", "0", "--dry-run"}));
  CHECK(dry.at("removed").size() == cache.at("entries").size());
  CHECK(result_of(place.caddie({"cache", "list"})).at("entries").size() == cache.at("entries").size());

  // Packing: the text is a part only, and nobody allowed that.
  const fs::path out = place.path() / "submission";
  const Outcome refused = place.caddie({"pack", "tiny", "-o", out.string()});
  CHECK(refused.exit_code == 2);
  CHECK_THAT(refused.err, Catch::Contains("--allow limited"));
  CHECK_THAT(place.caddie({"pack", tiny, stored, "-o", out.string(), "--allow", "limited"}).err,
             Catch::Contains("different manifests"));
  const Outcome packed = place.caddie({"pack", "tiny", "-o", out.string(), "--allow", "limited"});
  INFO(packed.err);
  REQUIRE(packed.exit_code == 0);
  CHECK(result_of(packed).at("bytes_total").get<double>() < 16e6);
  for (const char* name : {"README.md", "source.tar.xz", "seed_1/ledger.jsonl", "seed_3/tokenizer.model"})
    CHECK(fs::exists(out / name));

  fs::remove_all(place.runs());  // the folder stands alone
  fs::remove_all(place.cache());
  const Outcome verified = place.caddie({"verify", out.string()});
  INFO(verified.out << verified.err);
  CHECK(verified.exit_code == 0);
  CHECK(result_of(verified).at("ok") == true);
  CHECK_FALSE(fs::exists(place.cache()));

  const fs::path forged = place.path() / "forged";
  const auto check = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"verify", forged.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return place.caddie(arguments);
  };
  {  // a byte of an artifact
    copy_folder(out, forged);
    std::fstream file(forged / "seed_2/model.caddie", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-100, std::ios::end);
    file.put('~');
    file.close();
    list_again(forged);
    const Outcome outcome = check({"--no-score"});
    CHECK(outcome.exit_code == 6);
    CHECK(failed_checks(result_of(outcome)) == "seed 2: artifact;");
  }
  {  // an interval of the ledger
    copy_folder(out, forged);
    std::string ledger = read_text(forged / "seed_1/ledger.jsonl");
    ledger.replace(ledger.find("\"nats\":") + 7, 1, "1");
    write_atomic(forged / "seed_1/ledger.jsonl", ledger);
    CHECK(failed_checks(result_of(check({"--no-score"}))) == "file seed_1/ledger.jsonl;seed 1: ledger;");
    list_again(forged);
    CHECK(check({"--no-score"}).exit_code == 4);
  }
  {  // a better score, consistently in every file
    copy_folder(out, forged);
    Json facts = read_json(forged / "seed_3/facts.json"), submission = read_json(forged / "submission.json");
    Json& score = facts["scores"]["sliding_bpb"];
    for (const char* key : {"nats", "loss", "bits_per_byte"}) score[key] = score[key].get<double>() * 0.99;
    facts["metrics"]["sliding_bpb"] = score["bits_per_byte"];
    write_json(forged / "seed_3/facts.json", facts);
    list_again(forged);
    const Outcome outcome = check({});
    CHECK(outcome.exit_code == 4);
    CHECK(failed_checks(result_of(outcome)) == "seed 3: sliding_bpb;");
    submission["val_bpb"] = submission["val_bpb"].get<double>() - 0.01;
    write_json(forged / "submission.json", submission);
    list_again(forged);
    CHECK(failed_checks(result_of(check({"--no-score"}))) == "mean val_bpb;");
  }
  {  // fewer bytes than there are, a file more, a file less
    copy_folder(out, forged);
    Json submission = read_json(forged / "submission.json");
    submission["bytes_total"] = submission["bytes_total"].get<int>() - 1;
    submission["bytes_cap"] = 1000;
    write_json(forged / "submission.json", submission);
    write_atomic(forged / "more.txt", std::string_view("more"));
    fs::remove(forged / "seed_1/train.log");
    const Outcome outcome = check({"--no-score"});
    CHECK(outcome.exit_code == 5);
    CHECK(failed_checks(result_of(outcome)) ==
          "file seed_1/train.log;file submission.json;file more.txt;total bytes;bytes under the cap;");
  }
}
