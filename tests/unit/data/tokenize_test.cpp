#include "core/data/tokenize.h"

#include <sys/resource.h>

#include <csignal>

#include "core/data/byte_table.h"
#include "core/data/shards.h"
#include "core/data/synthetic.h"
#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

struct Corpus {
  Folder folder;
  std::vector<std::string> documents = synthetic_text(150'000);
  fs::path tokenizer = folder / "t.model";
  Corpus() {
    std::string lines;
    for (const std::string& text : documents) lines += Json{{"text", text}}.dump() + "\n";
    write_atomic(folder / "a.jsonl", lines);
    std::size_t next = 0;
    write_atomic(tokenizer, train_tokenizer(
                                [&](std::string& text) {
                                  if (next == documents.size()) return false;
                                  text = documents[next++];
                                  return true;
                                },
                                {.vocabulary = 400}));
  }
};
const Corpus& corpus() {
  static const Corpus made;
  return made;
}

TokenizeSettings settings(const fs::path& output, int threads = 1) {
  TokenizeSettings out;
  out.output = output;
  out.threads = threads;
  out.batch_bytes = 5'000;
  out.shard_tokens = 10'000;
  out.validation_share = 0.2;
  return out;
}

Json run(const TokenizeSettings& s) { return tokenize_files({corpus().folder / "a.jsonl"}, corpus().tokenizer, s); }

std::vector<std::uint16_t> tokens_of(const fs::path& folder, const Json& part) {
  std::vector<std::uint16_t> out;
  for (const Json& shard : part["shards"]) {
    const Shard file(folder / shard["file"].get<std::string>());
    out.insert(out.end(), file.tokens().begin(), file.tokens().end());
  }
  return out;
}

}  // namespace

TEST_CASE("shards and sidecar hold the documents, whatever the number of threads") {
  const Folder folder;
  const Json made = run(settings(folder / "one"));
  CHECK(run(settings(folder / "three", 3)) == made);
  CHECK(contents(folder / "one") == contents(folder / "three"));

  const Tokenizer tokenizer = Tokenizer::from_file(corpus().tokenizer);
  const Normalizer normalizer(tokenizer.model());
  std::vector<std::uint16_t> train, validation;
  std::int64_t bytes = 0;
  for (const std::string& text : corpus().documents) {
    const std::vector<std::int32_t> ids = tokenizer.encode_document(text);
    std::vector<std::uint16_t>& part = held_out(text, 0.2) ? validation : train;
    part.insert(part.end(), ids.begin(), ids.end());
    if (held_out(text, 0.2)) bytes += static_cast<std::int64_t>(normalizer.normalize(text).size());
  }
  CHECK(tokens_of(folder / "one", made["train"]) == train);
  CHECK(tokens_of(folder / "one", made["validation"]) == validation);
  CHECK(made["validation"]["bytes"].get<std::int64_t>() == bytes);
  CHECK(made["validation"]["text_bytes"].get<std::int64_t>() == bytes);
  CHECK(made["validation"]["unknown_tokens"] == 0);
  CHECK(made["train"]["shards"].size() > 2);
  CHECK(check_shard(folder.path() / "one" / "train_000000.bin") == 10'000);
  CHECK(verify_dataset(folder / "one")["validation"]["bytes"].get<std::int64_t>() == bytes);
}

TEST_CASE("the first N documents as validation") {
  const Folder folder;
  TokenizeSettings s = settings(folder / "out");
  s.validation_share = 0;
  s.validation_documents = 3;
  s.prefix = "text_";
  const Json made = run(s);
  CHECK(made["validation"]["documents"] == 3);
  CHECK(made["validation"]["shards"][0]["file"] == "text_val_000000.bin");
  const std::vector<std::int32_t> first =
      Tokenizer::from_file(corpus().tokenizer).encode_document(corpus().documents[0]);
  const std::vector<std::uint16_t> tokens = tokens_of(folder / "out", made["validation"]);
  CHECK(std::equal(first.begin(), first.end(), tokens.begin()));
}

TEST_CASE("an interrupted attempt goes on behind its finished shards and ends the same") {
  const Folder folder;
  const Tokenizer tokenizer = Tokenizer::from_file(corpus().tokenizer);
  run(settings(folder / "whole"));
  // The feed fails at every possible document once: the attempt after it must continue.
  TokenizeSettings s = settings(folder / "parts");
  const Json source = read_json(folder.path() / "whole" / kSidecar)["made_by"]["source"];
  int attempts = 0;
  for (std::size_t stop = 20; stop < corpus().documents.size(); stop += 19, ++attempts) {
    std::size_t next = 0;
    const DocumentFeed feed{[&](std::string& text, bool& validation) {
                              if (next == stop) throw Error(ErrorKind::interrupted, "stopped");
                              text = corpus().documents[next++];
                              validation = held_out(text, 0.2);
                              return true;
                            },
                            {},
                            {}};
    CHECK(error_of([&] { tokenize_feed(feed, tokenizer, s, source); }).kind() == ErrorKind::interrupted);
    CHECK_FALSE(fs::exists(s.output / kSidecar));
  }
  CHECK(attempts > 1);
  CHECK(fs::exists(s.output / "train_000000.bin"));
  run(s);
  CHECK(contents(folder / "parts") == contents(folder / "whole"));
}

TEST_CASE("a full disk: a clear error, nothing half-written under a final name, and a later attempt ends the same") {
  const Folder folder;
  run(settings(folder / "whole"));
  TokenizeSettings s = settings(folder / "out");
  fs::create_directories(s.output);
  fs::copy(corpus().tokenizer, s.output / "tokenizer.model");
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  // A limit on the size of files fails writes as a full disk does.
  const rlimit small{15'000, before.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  std::string message;
  try {
    run(s);
  } catch (const Error& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  CHECK_THAT(message, Contains("cannot write") && Contains(".bin"));
  for (const auto& [name, content] : contents(folder / "out")) CHECK_THAT(name, !Contains(".bin"));
  write_atomic(s.output / "train_000000.bin.tmp.1.2", std::string("left by a killed process"));
  run(s);
  CHECK(contents(folder / "out") == contents(folder / "whole"));
}

TEST_CASE("a finished folder is not written again, and not overwritten with something else") {
  const Folder folder;
  const TokenizeSettings s = settings(folder / "out");
  const Json made = run(s);
  const auto time = fs::last_write_time(s.output / "train_000000.bin");
  CHECK(run(s) == made);
  CHECK(fs::last_write_time(s.output / "train_000000.bin") == time);
  TokenizeSettings other = s;
  other.validation_share = 0.3;
  CHECK(error_of([&] { run(other); }).kind() == ErrorKind::usage);
}

TEST_CASE("verify finds a changed token, a missing shard and a foreign tokenizer") {
  const Folder folder;
  const auto broken = [&](const std::string& name, const auto& action) {
    const TokenizeSettings s = settings(folder / name);
    run(s);
    action(s.output);
    const Error error = error_of([&] { verify_dataset(s.output); });
    CHECK(error.kind() == ErrorKind::data);
    return error.message();
  };
  CHECK_THAT(broken("token",
                    [](const fs::path& out) {
                      std::string bytes = read_text(out / "train_000001.bin");
                      bytes[2000] = static_cast<char>(bytes[2000] ^ 1);
                      write_atomic(out / "train_000001.bin", bytes);
                    }),
             Contains("train_000001.bin") && Contains("SHA-256"));
  CHECK_THAT(broken("missing", [](const fs::path& out) { fs::remove(out / "val_000000.bin"); }),
             Contains("val_000000.bin"));
  CHECK_THAT(broken("tokenizer",
                    [](const fs::path& out) {
                      std::string bytes = read_text(out / "tokenizer.model");
                      bytes.back() = static_cast<char>(bytes.back() ^ 1);
                      write_atomic(out / "tokenizer.model", bytes);
                    }),
             Contains("tokenizer.model"));
  CHECK_THAT(broken("sidecar",
                    [](const fs::path& out) {
                      Json made = read_json(out / kSidecar);
                      made["validation"]["bytes"] = 1;
                      write_json(out / kSidecar, made);
                    }),
             Contains("promises"));
  CHECK_THAT(error_of([&] { verify_dataset(folder.path()); }).message(), Contains("no dataset.json"));
}

TEST_CASE("unknown pieces are counted, and their text is what the bytes lack") {
  const Folder folder;
  TokenizerTraining plain{.vocabulary = 150};
  plain.byte_fallback = false;
  std::size_t next = 0;
  const std::string model = train_tokenizer(
      [&](std::string& text) {
        if (next == 40) return false;
        text = corpus().documents[next++];
        return true;
      },
      plain);
  const Tokenizer tokenizer(model, "test");
  int given = 0;
  const std::string odd = "a 日本 the", plain_text = "the the";
  const DocumentFeed feed{[&](std::string& text, bool& validation) {
                            validation = true;
                            text = given == 0 ? odd : plain_text;
                            return given++ < 2;
                          },
                          {},
                          {}};
  const Json made = tokenize_feed(feed, tokenizer, settings(folder / "out"), "test")["validation"];
  CHECK(made["text_bytes"] == odd.size() + plain_text.size());
  CHECK(made["unknown_tokens"] == 1);
  CHECK(made["unknown_bytes"] == 6 + 1);  // two characters of three bytes, and the space behind them
}

TEST_CASE("the hash rule takes its share and does not depend on the order") {
  int taken = 0;
  for (int i = 0; i < 2000; ++i) taken += held_out(concat("document ", i), 0.1) ? 1 : 0;
  CHECK(taken > 140);
  CHECK(taken < 260);
  CHECK_FALSE(held_out("x", 0));
  CHECK(held_out("x", 1));
}
