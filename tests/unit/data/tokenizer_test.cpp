#include "core/data/tokenizer.h"

#include <ATen/ops/empty.h>

#include "caddie/services.h"
#include "core/data/byte_table.h"
#include "core/data/synthetic.h"
#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;

namespace {

std::string train(const std::vector<std::string>& documents, TokenizerTraining settings) {
  std::size_t next = 0;
  return train_tokenizer(
      [&](std::string& text) {
        if (next == documents.size()) return false;
        text = documents[next++];
        return true;
      },
      settings);
}

const std::string& small_model() {
  static const std::string model = train(synthetic_text(100'000), {.vocabulary = 400});
  return model;
}

std::int64_t table_bytes(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<std::int32_t> ids = tokenizer.encode_document(text);
  return ByteTable(tokenizer.model()).sum(std::vector<std::uint16_t>(ids.begin(), ids.end()));
}

}  // namespace

TEST_CASE("a trained tokenizer has the reference's settings") {
  const Tokenizer tokenizer(small_model(), "test");
  CHECK(tokenizer.vocabulary() == 400);
  CHECK(tokenizer.bos() == kBos);
  const TokenizerModel& model = tokenizer.model();
  CHECK(model.kind == TokenizerKind::bpe);
  CHECK(model.byte_fallback);
  CHECK(model.split_digits);
  CHECK_FALSE(model.add_dummy_prefix);
  CHECK(model.normalization == "nmt_nfkc");
  CHECK(model.count(PieceType::byte) == 256);
  CHECK(model.pieces[0].type == PieceType::control);
  CHECK(model.pieces[3].type == PieceType::unknown);
  CHECK(tokenizer.encode("12").size() >= 2);
}

TEST_CASE("training is reproducible, and the sample does not depend on what was dropped") {
  const std::vector<std::string> documents = synthetic_text(60'000, 5);
  CHECK(train(documents, {.vocabulary = 380}) == train(documents, {.vocabulary = 380}));
  CHECK(train(documents, {.vocabulary = 380}) != train(synthetic_text(60'000, 6), {.vocabulary = 380}));
  // Half of the text: the documents with the smallest hashes, in any order of arrival the same ones.
  TokenizerTraining half{.vocabulary = 350};
  half.sample_bytes = 30'000;
  CHECK(train(documents, half) != train(documents, {.vocabulary = 350}));
}

TEST_CASE("text that cannot carry the vocabulary is refused with what it can carry") {
  const Error little = error_of([] { train({"a b c a b c"}, {.vocabulary = 500}); });
  CHECK(little.kind() == ErrorKind::data);
  CHECK_THAT(little.message(), Contains("500"));
  TokenizerTraining loose{.vocabulary = 500};
  loose.exact = false;
  CHECK(Tokenizer(train({"a b c a b c"}, loose), "test").vocabulary() < 500);
  CHECK(error_of([] { train(synthetic_text(20'000), {.vocabulary = 100}); }).kind() == ErrorKind::data);
  CHECK(error_of([] { train({}, {.vocabulary = 300}); }).kind() == ErrorKind::data);
}

TEST_CASE("bytes of the tokens are the bytes of the normalized text, for any text") {
  const Tokenizer tokenizer(small_model(), "test");
  const Normalizer normalizer(tokenizer.model());
  const std::vector<std::string> texts = {"",
                                          " ",
                                          "plain words",
                                          "  two  spaces,\ttab\nnew line\n",
                                          "naïve café – “quotes” … €20 ½ ﬁ ＡＢＣ",
                                          "日本語テキスト, العربية, русский",
                                          "emoji 😀👩‍🚀 end",
                                          "▁already▁▁marked▁",
                                          "zero\xE2\x80\x8Bwidth",
                                          std::string("nul\0byte", 8),
                                          "bad \xFF\xC3 utf-8 \xE2\x96",
                                          "\xEF\xBB\xBF"
                                          "bom",
                                          "a\r\nb",
                                          "12345 1,000.5"};
  for (const std::string& text : texts) {
    INFO(text);
    const std::string normalized = normalizer.normalize(text);
    CHECK(table_bytes(tokenizer, text) == static_cast<std::int64_t>(normalized.size()));
    CHECK(tokenizer.decode(tokenizer.encode(text)) == normalized);
  }
}

TEST_CASE("the encoder gives the library's ids, on text and on noise") {
  TokenizerTraining plain{.vocabulary = 150};
  plain.byte_fallback = false;
  TokenizerTraining identity{.vocabulary = 400};
  identity.normalization = "identity";
  const std::vector<std::string> sources = {small_model(), train(synthetic_text(50'000), plain),
                                            train(synthetic_text(50'000), identity)};
  const std::vector<std::string> parts = {
      "the ", " ", "  ", "a", "brea", "of", "\n", "\t", "é", "e\xCC\x81", "日", "本 ", "😀", "▁", "ﬁ", "½", "1500",
      "-", ".", "\"", "\xFF", "\xE2\x96", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x80\x8B", "Ａ", "<s>", "<0x41>",
      "of the many"};
  Random random(1, "encoder");
  for (const std::string& source : sources) {
    const Tokenizer tokenizer(source, "test");
    REQUIRE(tokenizer.tables() != nullptr);
    for (const std::string& text : synthetic_text(20'000, 3))
      CHECK(tokenizer.encode(text) == tokenizer.encode_by_library(text));
    for (int i = 0; i < 400; ++i) {
      std::string text;
      for (std::uint64_t n = random.below(25); n > 0; --n) text += parts[random.below(parts.size())];
      INFO(text);
      CHECK(tokenizer.encode(text) == tokenizer.encode_by_library(text));
    }
    const std::string one_word(3000, 'e');
    CHECK(tokenizer.encode(one_word) == tokenizer.encode_by_library(one_word));
  }
}

TEST_CASE("byte table of a small model by hand") {
  TokenizerModel model;
  model.pieces = {{"<pad>", 0, PieceType::control},
                  {"<s>", 0, PieceType::control},
                  {"<unk>", 0, PieceType::unknown},
                  {"<0x41>", 0, PieceType::byte},
                  {"\xE2\x96\x81", 0},
                  {"\xE2\x96\x81the", 0},
                  {"é", 0},
                  {"x", 0, PieceType::unused},
                  {"\xE2\x96\x81\xE2\x96\x81", 0},
                  {"u", 0, PieceType::user_defined}};
  const ByteTable table(model);
  CHECK(table.bytes() == std::vector<std::int16_t>{0, 0, 0, 1, 0, 3, 2, 0, 3, 1});
  CHECK(table.leading_space() == std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1, 0, 0, 1, 0});
  CHECK(table.boundary() == std::vector<std::uint8_t>{1, 1, 1, 0, 0, 0, 0, 1, 0, 0});
  CHECK(table.target_bytes(1, 5) == 3);
  CHECK(table.target_bytes(6, 5) == 4);
  CHECK(table.target_bytes(7, 4) == 0);
  const std::vector<std::uint16_t> tokens = {1, 5, 5, 2, 5, 3, 4};
  CHECK(table.sum(tokens) == 3 + 4 + 0 + 3 + 1 + 1);
  CHECK_THAT(error_of([&] { table.sum(std::vector<std::uint16_t>{1, 10}); }).message(),
             Contains("id 10") && Contains("10 pieces"));
}

TEST_CASE("the byte table on tensors is the same") {
  const Tokenizer tokenizer(small_model(), "test");
  const ByteTable table(tokenizer.model());
  const std::vector<std::int32_t> ids = tokenizer.encode_document("some words — and bytes 日本");
  at::Tensor tokens = at::empty({static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tokens.mutable_data_ptr<std::int64_t>());
  const std::int64_t n = tokens.numel() - 1;
  const std::int64_t expected = table_bytes(tokenizer, "some words — and bytes 日本");
  CHECK(table.sum(tokens.slice(0, 0, n), tokens.slice(0, 1)) == expected);
  CHECK(table.target_bytes(tokens.slice(0, 0, n).view({1, n}), tokens.slice(0, 1).view({1, n})).sizes() ==
        at::IntArrayRef({1, n}));
}

TEST_CASE("what is not a SentencePiece model is refused with its path") {
  const Folder folder;
  for (const std::string& content :
       {std::string(), std::string("hello"), small_model().substr(0, small_model().size() / 2),
        std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 10)}) {
    write_atomic(folder / "t.model", content);
    const Error error = error_of([&] { Tokenizer::from_file(folder / "t.model"); });
    CHECK(error.kind() == ErrorKind::data);
    CHECK_THAT(error.message(), Contains("t.model"));
    CHECK_THROWS_AS(ByteTable::from_file(folder / "t.model"), Error);
  }
  CHECK(error_of([&] { Tokenizer::from_file(folder / "missing.model"); }).kind() == ErrorKind::data);
}

TEST_CASE("ids outside the vocabulary are not decoded") {
  const Tokenizer tokenizer(small_model(), "test");
  CHECK(error_of([&] { tokenizer.decode({5, 400}); }).kind() == ErrorKind::data);
  CHECK(error_of([&] { tokenizer.decode({-1}); }).kind() == ErrorKind::data);
}

TEST_CASE("UTF-8 sequences by the standard's table") {
  CHECK(utf8_length("a") == 1);
  CHECK(utf8_length("\xC3\xA9") == 2);
  CHECK(utf8_length("\xE2\x96\x81") == 3);
  CHECK(utf8_length("\xF0\x9F\x98\x80") == 4);
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x96"})
    CHECK(utf8_length(bad) == 0);
}
