// caddie data pull against a Hub that redirects, drops, truncates, stalls, lies and refuses.
#include <csignal>
#include <filesystem>

#include "tests/integration/fake_hub.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::test;
namespace fs = std::filesystem;

namespace {

bool says(const Pulled& pulled, const std::string& text) { return pulled.message.find(text) != std::string::npos; }
bool says(const Outcome& outcome, const std::string& text) { return outcome.err.find(text) != std::string::npos; }

Pull with_shards(std::int64_t shards) {
  Pull wanted;
  wanted.shards = shards;
  return wanted;
}
Pull with_environment(std::vector<std::string> environment) {
  Pull wanted;
  wanted.environment = std::move(environment);
  return wanted;
}
Pull offline(const std::string& dataset = kDataset) {
  Pull wanted;
  wanted.dataset = dataset;
  wanted.options.offline = true;
  return wanted;
}

// Every file of the answer is there with the Hub's content.
void check_complete(const FakeHub& hub, const Pulled& pulled, std::size_t train_shards) {
  INFO(pulled.message);
  REQUIRE(!pulled.error);
  const Json& report = pulled.report;
  REQUIRE(report.at("train").size() == train_shards);
  for (std::size_t i = 0; i < train_shards; ++i)
    CHECK(read_text(report["train"][i].get<std::string>()) ==
          hub.content(FakeHub::shard_name("train", static_cast<int>(i))));
  CHECK(read_text(report.at("validation").at(0).get<std::string>()) == hub.content(FakeHub::shard_name("val", 0)));
  CHECK(read_text(report.at("tokenizer").get<std::string>()) == hub.content("tokenizers/golf_512_bpe.model"));
  CHECK(hub.partials().empty());
}

}  // namespace

TEST_CASE("a dataset is pulled once, into the folder that other clients use, pinned to a commit") {
  FakeHub hub;
  hub.publish(3, 50000);
  Pull dry_run;
  dry_run.options.dry_run = true;
  const Pulled dry = hub.pull(dry_run);
  REQUIRE(!dry.error);
  CHECK(dry.report.at("files") == 5);
  CHECK(dry.report.at("bytes") == 3 * 50000 + 25000 + 3000);
  CHECK(dry.report.at("cached_files") == 0);
  CHECK(hub.requests("cdn").empty());

  const Pulled first = hub.pull(with_shards(2));
  check_complete(hub, first, 2);
  const std::string commit = first.report.at("commit");
  CHECK(read_text(hub.repository_cache() / "refs" / "main") == commit);
  CHECK(fs::is_symlink(hub.repository_cache() / "snapshots" / commit / FakeHub::shard_name("train", 0)));
  CHECK(hub.requests("cdn").size() == 4);

  // What is there is not asked for again.
  hub.forget_requests();
  const fs::path folder = hub.root() / "linked";
  Pull linked;
  linked.options.link_into = folder;
  check_complete(hub, hub.pull(linked), 3);
  CHECK(hub.requests("cdn").size() == 1);
  CHECK(read_text(folder / "golf_train_000002.bin") == hub.content(FakeHub::shard_name("train", 2)));
  CHECK(fs::exists(folder / "golf_512_bpe.model"));

  // Offline: by option or by the environment, no request at all.
  hub.forget_requests();
  check_complete(hub, hub.pull(offline()), 3);
  check_complete(hub, hub.pull(with_environment({"HF_HUB_OFFLINE=1"})), 3);
  check_complete(hub, hub.pull(offline(kDataset + ("@" + commit))), 3);
  const Pulled unknown = hub.pull(offline("owner/golf@v1.2"));
  CHECK(unknown.error == ErrorKind::data);
  CHECK(says(unknown, "caddie data pull owner/golf@v1.2"));
  CHECK(hub.requests("api").empty());

  // A tag of the same commit needs no byte.
  Pull tag;
  tag.dataset = "owner/golf@v1.2";
  check_complete(hub, hub.pull(tag), 3);
  CHECK(hub.requests("cdn").empty());
}

TEST_CASE("the token goes to the Hub and to nobody else") {
  FakeHub hub;
  hub.publish(1, 5000);
  check_complete(hub, hub.pull(with_environment({"HF_TOKEN=hf_secret"})), 1);
  for (const Json& request : hub.requests("api")) CHECK(request.at("token") == "Bearer hf_secret");
  for (const Json& request : hub.requests("hub")) CHECK(request.at("token") == "Bearer hf_secret");
  REQUIRE(hub.requests("cdn").size() == 3);
  for (const Json& request : hub.requests("cdn")) CHECK(request.at("token") == "");
}

TEST_CASE("HTTPS: a certificate of one's own is accepted where the environment names it, and refused elsewhere") {
  if (Process({"openssl", "version"}, {}).wait(10).exit_code != 0 ||
      Process({"python3", "-c", "import ssl"}, {}).wait(10).exit_code != 0)
    SKIP_TEST("no openssl, or a Python without ssl, to make a certificate and serve by it");
  FakeHub hub("https");
  hub.publish(1, 20000);
  const Pulled refused = hub.pull();
  CHECK(refused.error == ErrorKind::data);
  INFO(refused.message);
  CHECK(says(refused, "certificate"));
  CHECK(says(refused, "CURL_CA_BUNDLE"));
  CHECK_FALSE(says(refused, "times in a row"));  // it is not tried again
  CHECK(hub.requests("api").empty());
  const Pulled no_file = hub.pull(with_environment({"SSL_CERT_FILE=" + (hub.root() / "none.pem").string()}));
  CHECK(no_file.error == ErrorKind::data);
  CHECK(says(no_file, "none.pem"));
  check_complete(hub, hub.pull(with_environment({"CURL_CA_BUNDLE=" + hub.certificate().string()})), 1);
  fs::remove_all(hub.cache());
  check_complete(hub, hub.pull(with_environment({"SSL_CERT_FILE=" + hub.certificate().string(), "HF_TOKEN=hf_secret"})), 1);
  for (const Json& request : hub.requests("cdn")) CHECK(request.at("token") == "");
}

TEST_CASE("a proxy is used if the environment names one") {
  FakeHub hub;
  hub.publish(1, 5000);
  check_complete(hub, hub.pull(with_environment({"HF_ENDPOINT=http://hub.test", "http_proxy=" + hub.address()})), 1);
  for (const Json& request : hub.requests("cdn")) CHECK(request.at("proxied") == true);
  CHECK(hub.requests("cdn").size() == 3);
}

TEST_CASE("dropped, throttled and stalled transfers go on where they stopped") {
  FakeHub hub;
  hub.publish(1, 60000);
  const Json fault = GENERATE(Json{{"drop_after", 20000}}, Json{{"stall_after", 20000}}, Json{{"pause", 0.1}});
  Json entry = {{"at", "cdn"}, {"path", "train"}, {"times", 1}};
  entry.update(fault);
  hub.faults(Json::array({entry}));
  CAPTURE(entry.dump());
  check_complete(hub, hub.pull(), 1);
  const auto asked = hub.requests("cdn", "train");
  if (fault.contains("pause")) {
    CHECK(asked.size() == 1);
  } else {
    REQUIRE(asked.size() == 2);
    CHECK(asked[1].at("range") == "bytes=20000-");
  }
}

TEST_CASE("a server without ranges sends the whole again, and a refused range starts anew") {
  FakeHub hub;
  hub.publish(1, 60000);
  const Json second = GENERATE(Json{{"ignore_range", true}}, Json{{"status", 416}});
  Json entry = {{"at", "cdn"}, {"path", "train"}, {"times", 1}};
  entry.update(second);
  Json drop = {{"at", "cdn"}, {"path", "train"}, {"times", 1}, {"drop_after", 20000}};
  hub.faults(Json::array({drop, entry}));
  check_complete(hub, hub.pull(), 1);
}

TEST_CASE("429 and 5xx are tried again after the time that the server asks for") {
  FakeHub hub;
  hub.publish(1, 5000);
  hub.faults(Json::array({{{"at", "api"}, {"path", "/revision/"}, {"times", 2}, {"status", 429}, {"retry_after", 0}},
                          {{"at", "api"}, {"path", "/tree/"}, {"times", 1}, {"status", 503}},
                          {{"at", "hub"}, {"path", "model"}, {"times", 1}, {"status", 429}, {"ratelimit", "\"api\";r=0;t=0"}},
                          {{"at", "cdn"}, {"path", "train"}, {"times", 1}, {"status", 500}},
                          {{"at", "cdn"}, {"path", "val"}, {"times", 1}, {"status", 403}}}));
  check_complete(hub, hub.pull(), 1);
  CHECK(hub.requests("api", "/revision/").size() == 3);
  CHECK(hub.requests("hub", "val").size() == 2);  // a signed address that ran out: the Hub was asked for another
}

TEST_CASE("what cannot be had is an error with the server's words, and nothing appears under a final name") {
  FakeHub hub;
  hub.publish(1, 5000);
  struct Case {
    Json fault;
    std::string expected;
  };
  const Case example = GENERATE(
      Case{{{"at", "cdn"}, {"path", "train"}, {"status", 503}, {"retry_after", 0}}, "6 times in a row"},
      Case{{{"at", "hub"}, {"path", "train"}, {"status", 403}, {"code", "GatedRepo"}}, "HF_TOKEN"},
      Case{{{"at", "hub"}, {"path", "train"}, {"status", 429}, {"retry_after", 90000}}, "90000 s"},
      Case{{{"at", "hub"}, {"path", "train"}, {"circle", true}}, "redirected more than"},
      Case{{{"at", "api"}, {"path", "/revision/"}, {"status", 404}, {"code", "RepoNotFound"}}, "RepoNotFound"},
      Case{{{"at", "api"}, {"path", "/revision/"}, {"page", "<html>Log in</html>"}}, "login page"},
      Case{{{"at", "api"}, {"path", "/tree/"}, {"page", "{}"}}, "holds no token shards"},
      Case{{{"at", "cdn"}, {"path", "train"}, {"page", "<html>Log in</html>"}}, "19 bytes, the Hub promises 5000"},
      Case{{{"at", "cdn"}, {"path", "train"}, {"truncate_to", 4000}}, "4000 bytes, the Hub promises 5000"},
      Case{{{"at", "cdn"}, {"path", "train"}, {"longer", true}}, "more than the 5000 bytes"},
      Case{{{"at", "cdn"}, {"path", "train"}, {"corrupt", true}}, "has the hash"},
      Case{{{"at", "listing"}, {"path", "train"}, {"false_hash", true}}, "has the hash"});
  CAPTURE(example.fault.dump());
  hub.faults(Json::array({example.fault}));
  const Pulled outcome = hub.pull();
  INFO(outcome.message);
  CHECK(outcome.error == ErrorKind::data);
  CHECK(says(outcome, example.expected));
  std::error_code code;
  for (const auto& item : fs::recursive_directory_iterator(hub.cache(), code))
    CHECK(item.path().filename() != "golf_train_000000.bin");
  // The next attempt finds a Hub in good health.
  hub.faults(Json::array());
  if (example.fault.at("at") != "listing" && !says(outcome, "holds no")) check_complete(hub, hub.pull(), 1);
}

TEST_CASE("one wrong copy is got again") {
  FakeHub hub;
  hub.publish(1, 50000);
  hub.faults(Json::array({{{"at", "cdn"}, {"path", "train"}, {"times", 1}, {"corrupt", true}},
                          {{"at", "cdn"}, {"path", "val"}, {"times", 1}, {"drop_after", 9000}},
                          {{"at", "cdn"}, {"path", "val"}, {"times", 1}, {"status", 503}}}));
  check_complete(hub, hub.pull(), 1);
  CHECK(hub.requests("cdn", "train").size() == 2);
}

TEST_CASE("after a kill the same command goes on") {
  FakeHub hub;
  hub.publish(2, 400000);
  hub.faults(Json::array({{{"at", "cdn"}, {"path", "train"}, {"times", 2}, {"pause", 0.05}}}));
  const bool politely = GENERATE(false, true);
  Process process(caddie_command({"data", "pull", kDataset, "--json"}), hub.setup());
  const auto received = [&] {
    std::int64_t bytes = 0;
    for (const fs::path& path : hub.partials())
      for (int i = 0; i < 2; ++i)
        if (path.filename().string().starts_with(sha256(hub.content(FakeHub::shard_name("train", i)))))
          bytes += static_cast<std::int64_t>(fs::file_size(path));
    return bytes;
  };
  for (int i = 0; i < 2000 && received() < 20000; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  process.kill(politely ? SIGTERM : SIGKILL);
  const Outcome killed = process.wait(300);
  if (politely) CHECK(killed.exit_code == 75);
  const auto kept = received();
  REQUIRE(kept >= 20000);
  CHECK(hub.pull(offline()).error == ErrorKind::data);
  check_complete(hub, hub.pull(), 2);
  std::int64_t skipped = 0;
  for (const Json& request : hub.requests("cdn", "train"))
    if (const std::string range = request.at("range"); !range.empty()) skipped += std::stoll(range.substr(6));
  CHECK(skipped == kept);
}

TEST_CASE("two that pull the same share the work") {
  FakeHub hub;
  hub.publish(1, 200000);
  hub.faults(Json::array({{{"at", "cdn"}, {"path", "train"}, {"times", 1}, {"pause", 0.02}}}));
  Process first(caddie_command({"data", "pull", kDataset, "--json"}), hub.setup());
  while (hub.partials().empty() && first.running()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  check_complete(hub, hub.pull(), 1);
  CHECK(first.wait(300).exit_code == 0);
  CHECK(hub.requests("cdn", "train").size() == 1);
}

TEST_CASE("a full disk is said, and what came is kept for later") {
  FakeHub hub;
  hub.publish(1, 60000);
  Process::Setup setup = hub.setup();
  setup.file_size_limit = 30000;
  const Outcome outcome = Process(caddie_command({"data", "pull", kDataset}), setup).wait(300);
  INFO(outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(says(outcome, "cannot write"));
  REQUIRE(hub.partials().size() >= 1);
  for (const fs::path& path : hub.partials()) CHECK(fs::file_size(path) <= 30000);
  check_complete(hub, hub.pull(), 1);
}

TEST_CASE("several sets of shards: one is chosen, with the tokenizer that the manifest names") {
  FakeHub hub;
  for (const char* size : {"512", "1024"}) {
    const std::string folder = std::string("datasets/datasets/golf_sp") + size;
    hub.add(folder + "/golf_train_000000.bin", std::string(2000, size[0]));
    hub.add(folder + "/golf_val_000000.bin", std::string(1000, size[1]));
    hub.add(std::string("datasets/tokenizers/model_") + (size[0] == '5' ? "a" : "b") + ".model", size);
  }
  hub.add("datasets/manifest.json",
          R"({"datasets": [{"name": "golf_sp512", "tokenizer_name": "small"}, {"name": "golf_sp1024", "tokenizer_name": "big"}],
              "tokenizers": [{"name": "small", "kind": "sentencepiece_bpe", "model_path": "tokenizers/model_a.model"},
                             {"name": "big", "kind": "sentencepiece_bpe", "model_path": "tokenizers/model_b.model"}]})");
  Pull wanted;
  const Pulled unclear = hub.pull(wanted);
  CHECK(unclear.error == ErrorKind::data);
  CHECK(says(unclear, "golf_sp1024, golf_sp512"));
  wanted.variant = "sp99";
  CHECK(says(hub.pull(wanted), "it has: golf_sp1024, golf_sp512"));
  wanted.variant = "sp1024";
  const Pulled chosen = hub.pull(wanted);
  INFO(chosen.message);
  REQUIRE(!chosen.error);
  CHECK(read_text(chosen.report.at("tokenizer").get<std::string>()) == "1024");
  CHECK(read_text(chosen.report.at("train").at(0).get<std::string>()) == std::string(2000, '1'));
  wanted.variant = "golf_sp512";
  wanted.options.offline = true;
  CHECK(hub.pull(wanted).error == ErrorKind::data);
}

TEST_CASE("a run pulls the dataset that its manifest names, unless it is told to stay offline") {
  FakeHub hub;
  const Workplace place;
  const fs::path made = hub.root() / "made";
  const std::string text = CADDIE_SOURCE_DIR "/tests/integration/text.txt", model = (hub.root() / "t.model").string();
  REQUIRE(place.caddie({"tokenizer", "train", text, "-o", model, "--vocabulary", "320"}).exit_code == 0);
  REQUIRE(place.caddie({"data", "tokenize", text, "--tokenizer", model, "-o", made.string(), "--validation-share",
                        "0.1"}).exit_code == 0);
  hub.add("datasets/golf_sp320/golf_train_000000.bin", read_text(made / "train_000000.bin"));
  hub.add("datasets/golf_sp320/golf_val_000000.bin", read_text(made / "val_000000.bin"));
  hub.add("tokenizers/golf_320.model", read_text(model));
  const std::vector<std::string> changes = {"data.dataset=owner/golf", "model.vocabulary=320"};
  const auto call = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), changes.begin(), changes.end());
    return place.caddie(arguments, hub.setup());
  };

  const Outcome plan = call({"plan", kTiny});
  INFO(plan.err);
  CHECK(plan.exit_code == 0);
  CHECK(result_of(plan).at("stages").at(0).at("key").is_null());
  CHECK(result_of(plan).at("notes").dump().find("caddie data pull owner/golf") != std::string::npos);
  const Outcome kept_off = call({"run", kTiny, "--offline", "--until", "data"});
  CHECK(kept_off.exit_code == 6);
  CHECK(says(kept_off, "caddie data pull owner/golf"));
  CHECK(hub.requests("api").empty());

  const Outcome run = call({"run", kTiny, "--until", "train"});
  INFO(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(says(run, "pulling 3 of 3 files"));
  hub.forget_requests();
  const Outcome again = call({"run", kTiny, "--until", "train", "--offline"});
  CHECK(again.exit_code == 0);
  CHECK(cached(result_of(again)).at("data") == true);
  CHECK(hub.requests("api").empty());
  // The same shards by their paths are the same data.
  fs::remove(made / "dataset.json");  // a sidecar would certify the bytes, which the Hub's listing does not
  const Outcome by_path = place.run({"data.train=" + (made / "train_*.bin").string(), "--until", "train",
                                     "data.validation=" + (made / "val_*.bin").string(), "data.tokenizer=" + model,
                                     "model.vocabulary=320"});
  INFO(by_path.err);
  CHECK(cached(result_of(by_path)).at("train") == true);

  // A shard that was changed since is not what the Hub promised.
  const fs::path shard = fs::canonical(hub.repository_cache() / "snapshots" /
                                       read_text(hub.repository_cache() / "refs" / "main") /
                                       "datasets/golf_sp320/golf_train_000000.bin");
  std::string content = read_text(shard);
  content[5000] = static_cast<char>(content[5000] ^ 1);
  write_atomic(shard, content);
  const Outcome changed = call({"run", kTiny, "--until", "data"});
  CHECK(changed.exit_code == 6);
  CHECK(says(changed, "the Hub promises"));
}

TEST_CASE("the command's output") {
  FakeHub hub;
  hub.publish(1, 5000);
  const Outcome outcome = Process(caddie_command({"data", "pull", kDataset, "--json"}), hub.setup()).wait(300);
  REQUIRE(outcome.exit_code == 0);
  CHECK(result_of(outcome).at("train").size() == 1);
  CHECK(says(outcome, "pulling 3 of 3 files"));
  CHECK(Process(caddie_command({"data", "pull", "owner"}), hub.setup()).wait(300).exit_code == 2);
}
