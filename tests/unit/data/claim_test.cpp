// Bytes that a score implies, against the shards'.
#include "core/data/claim.h"

#include "core/data/unknown_note.h"

#include <cmath>

#include "core/data/shards.h"
#include "core/data/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;

namespace {

std::string claim_text(double loss, std::int64_t tokens, double bits, int digits) {
  char text[128];
  std::snprintf(text, sizeof text, "%.*f,%lld,%.*f", digits, loss, static_cast<long long>(tokens), digits, bits);
  return text;
}

}  // namespace

TEST_CASE("a claim that implies its targets' bytes passes, another one is refused") {
  const Folder folder;
  TokenizerTraining training;
  training.vocabulary = 300;
  int given = 0;
  const std::string model = train_tokenizer(
      [&](std::string& text) {
        text = "the cat sat on the mat and the dog sat on the log " + std::to_string(given);
        return given++ < 40;
      },
      training);
  write_atomic(folder / "t.model", model);
  const Tokenizer tokenizer(model, "test");
  const ByteTable table(tokenizer.model());
  std::vector<std::uint16_t> tokens;
  for (int i = 0; i < 200; ++i)
    for (const std::int32_t id : tokenizer.encode_document("the dog " + std::to_string(i) + " sat on cats"))
      tokens.push_back(static_cast<std::uint16_t>(id));
  const auto size = static_cast<std::int64_t>(tokens.size());
  write_shard(folder / "0.bin", std::span(tokens).first(700));
  write_shard(folder / "1.bin", {});
  write_shard(folder / "2.bin", std::span(tokens).subspan(700));
  const std::vector<std::filesystem::path> shards = {folder / "0.bin", folder / "1.bin", folder / "2.bin"};

  CHECK(bytes_of_targets(shards, table, size - 1) == table.sum(tokens));
  CHECK(bytes_of_targets(shards, table, 699) == table.sum(std::span(tokens).first(700)));
  CHECK(bytes_of_targets(shards, table, 700) == table.sum(std::span(tokens).first(701)));
  CHECK_THAT(error_of([&] { bytes_of_targets(shards, table, size); }).message(), Contains("targets are claimed"));

  // The tail that a flat score drops is no part of its bytes.
  const std::int64_t scored = size - 33;
  const auto bytes = static_cast<double>(bytes_of_targets(shards, table, scored));
  const double loss = 2.6318214, bits = loss / std::log(2.0) * static_cast<double>(scored) / bytes;
  for (const int digits : {3, 4, 6, 10}) {
    const Json checked = check_claim(Claim::parse(claim_text(loss, scored, bits, digits)), shards, table);
    CHECK(checked.at("bytes") == bytes);
    CHECK(std::abs(checked.at("ratio").get<double>() - 1) <= checked.at("tolerance").get<double>());
  }
  for (const double wrong : {bits * 1.002, bits * 0.998}) {
    const Error error = error_of([&] { check_claim(Claim::parse(claim_text(loss, scored, wrong, 6)), shards, table); });
    CHECK(error.kind() == ErrorKind::data);
    CHECK_THAT(error.message(), Contains("implies") && Contains("%"));
  }
  // Another pass over more or fewer targets.
  CHECK_THROWS_AS(check_claim(Claim::parse(claim_text(loss, scored - 200, bits, 6)), shards, table), Error);
  for (const char* text : {"", "1,2", "1,2,3,4", "a,2,3", "1,2.5,3", "1,2,-3", "0,2,3", "nan,2,3"})
    CHECK(error_of([&] { Claim::parse(text); }).kind() == ErrorKind::usage);
}

TEST_CASE("unknown pieces are said with their share and the bytes that they hide") {
  CHECK(unknown_note({{"validation", {{"unknown_tokens", 0}, {"unknown_share", 0.0}}}}).empty());
  CHECK(unknown_note(Json()).empty());
  const std::string note = unknown_note(
      {{"validation", {{"unknown_tokens", 5}, {"unknown_share", 0.05}, {"bytes", 380}, {"text_bytes", 400}}}});
  CHECK_THAT(note, Contains("5.00 %") && Contains("20 of 400 bytes"));
}
