#include "core/data/source.h"

#include <cstdlib>
#include <set>

#include "core/data/baselines.h"
#include "core/data/bible.h"
#include "core/data/shards.h"
#include "core/data/synthetic.h"
#include "core/data/text_source.h"
#include "core/data/tokenize.h"
#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

// A text file of many short documents, and the data stage's result for it, made once.
struct Made {
  Folder folder;
  DataSettings settings;
  DataSet data;
  Made() {
    std::string text;
    for (const std::string& document : synthetic_text(120'000)) text += document + "\n\n";
    write_atomic(folder / "text.txt", text);
    settings =
        DataSettings::from_json({{"text", (folder / "text.txt").string()}, {"vocabulary", 380}, {"holdout", 0.1}});
    fs::create_directories(folder / "stage");
    data = prepare_data(settings, folder / "stage", 2);
  }
};
const Made& made() {
  static const Made once;
  return once;
}

DataSettings as_shards(const fs::path& folder) {
  return DataSettings::from_json({{"train", (folder / "train_*.bin").string()},
                                  {"validation", {(folder / "val_*.bin").string()}},
                                  {"tokenizer", (folder / "tokenizer.model").string()}});
}

}  // namespace

TEST_CASE("a text becomes shards, a tokenizer and an identity with certified bytes") {
  const DataSet& data = made().data;
  CHECK(data.vocabulary == 380);
  CHECK(data.bytes->vocabulary() == 380);
  const Json& validation = data.identity["validation"];
  CHECK(validation["certified"] == true);
  CHECK(validation["unknown_tokens"] == 0);
  // The text of the held-out part, one document a line: all of its bytes but the line ends are scored.
  const std::string text = read_text(data.validation_text);
  const auto lines = std::count(text.begin(), text.end(), '\n');
  CHECK(validation["bytes"].get<std::int64_t>() == static_cast<std::int64_t>(text.size()) - lines);
  CHECK(data.identity["train"]["max_id"].get<std::int64_t>() < 380);
  check_belongs(data, 380);
  const Error error = error_of([&] { check_belongs(data, 1024); });
  CHECK(error.kind() == ErrorKind::data);
  CHECK_THAT(error.message(), Contains("1024") && Contains("380"));
}

TEST_CASE("validation is no part of the training text, nor of the tokenizer's") {
  std::set<std::string> training;
  const auto lines = [](const fs::path& path) {
    std::vector<std::string> out;
    std::istringstream stream(read_text(path));
    for (std::string line; std::getline(stream, line);) out.push_back(line);
    return out;
  };
  for (const std::string& line : lines(made().data.training_text)) training.insert(line);
  const std::vector<std::string> held = lines(made().data.validation_text);
  CHECK(held.size() >= 5);
  for (const std::string& line : held) CHECK(training.count(line) == 0);
}

TEST_CASE("the stage's result opens again, moves with its folder, and is checked") {
  const Folder folder;
  fs::copy(made().folder / "stage", folder / "moved");
  const DataSet data = open_data(folder / "moved");
  CHECK(data.identity == made().data.identity);
  REQUIRE(data.baselines.size() == 6);
  CHECK(data.baselines[3].bits_per_byte == made().data.baselines[3].bits_per_byte);
  CHECK(data.train.front().parent_path() == folder / "moved");
  write_atomic(folder.path() / "moved" / "val_000000.bin", "cut");
  CHECK(error_of([&] { open_data(folder / "moved"); }).kind() == ErrorKind::data);
  CHECK(error_of([&] { open_data(folder / "none"); }).kind() == ErrorKind::data);
}

TEST_CASE("the same text gives the same identity and key; another vocabulary another one") {
  const Folder folder;
  const DataSet again = prepare_data(made().settings, folder.path(), 1);
  CHECK(again.identity == made().data.identity);
  CHECK(data_key(made().settings) == data_key(made().settings));
  DataSettings other = made().settings;
  other.vocabulary = 381;
  CHECK(data_key(other) != data_key(made().settings));
}

TEST_CASE("shards with their sidecar: certified; with another tokenizer: refused") {
  const Folder folder;
  for (const auto& entry : fs::directory_iterator(made().folder / "stage"))
    fs::copy(entry.path(), folder / entry.path().filename().string());
  const DataSet data = prepare_data(as_shards(folder.path()), folder.path(), 1);
  CHECK(data.identity["validation"] == made().data.identity["validation"]);
  CHECK(data_key(as_shards(folder.path())).contains("train"));

  std::size_t next = 0;
  const std::vector<std::string> documents = synthetic_text(50'000, 9);
  const auto train = [&](std::int64_t vocabulary) {
    next = 0;
    return train_tokenizer(
        [&](std::string& text) {
          if (next == documents.size()) return false;
          text = documents[next++];
          return true;
        },
        {.vocabulary = vocabulary});
  };
  write_atomic(folder / "tokenizer.model", train(380));
  CHECK_THAT(error_of([&] { prepare_data(as_shards(folder.path()), folder.path(), 1); }).message(),
             Contains("not the tokenizer that made"));
  // Without a sidecar the ids themselves must fit.
  fs::remove(folder / kSidecar);
  write_atomic(folder / "tokenizer.model", train(340));
  const Error error = error_of([&] { prepare_data(as_shards(folder.path()), folder.path(), 1); });
  CHECK(error.kind() == ErrorKind::data);
  CHECK_THAT(error.message(), Contains("340 pieces"));
  write_atomic(folder / "tokenizer.model", train(380));
  CHECK(prepare_data(as_shards(folder.path()), folder.path(), 1).identity["validation"]["certified"] == false);
}

TEST_CASE("a data section that says nothing, both or half is refused") {
  for (const Json& section : {Json::object(), Json{{"text", "synthetic"}, {"train", "x"}},
                              Json{{"train", "x"}, {"tokenizer", "t"}}, Json{{"text", "synthetic"}, {"holdout", 1.5}}})
    CHECK(error_of([&] { DataSettings::from_json(section); }).kind() == ErrorKind::usage);
  const Json resolved = {{"train", nullptr},    {"validation", nullptr}, {"tokenizer", nullptr},
                         {"text", "bible-kjv"}, {"vocabulary", 1024},    {"holdout", 0.05}};
  CHECK(DataSettings::from_json(resolved).text == "bible-kjv");
}

TEST_CASE("missing data is an error of kind data that names it") {
  const Folder folder;
  CHECK(error_of([&] { prepare_data(as_shards(folder.path()), folder.path(), 1); }).kind() == ErrorKind::data);
  CHECK_THAT(error_of([&] { data_key(as_shards(folder.path())); }).message(), Contains("train_*.bin"));
  const DataSettings text = DataSettings::from_json({{"text", (folder / "none.txt").string()}});
  CHECK_THAT(error_of([&] { data_key(text); }).message(), Contains("none.txt"));
}

TEST_CASE("held out: the smallest hashes, but never all of a group, and copies together") {
  std::vector<TextDocument> documents;
  for (int i = 0; i < 100; ++i) documents.push_back({concat("text ", i), i < 4 ? concat("alone ", i) : "rest"});
  documents.push_back(documents[50]);
  for (const double share : {0.05, 0.5, 0.95}) {
    const std::vector<bool> chosen = choose_held_out(documents, share);
    const auto count = std::count(chosen.begin(), chosen.end(), true);
    CHECK(std::abs(static_cast<double>(count) - share * 101) <= 2);
    for (std::size_t i = 0; i < 4; ++i) CHECK_FALSE(chosen[i]);
    CHECK(chosen[50] == chosen[100]);
    CHECK_FALSE(std::all_of(chosen.begin() + 4, chosen.end(), [](bool c) { return c; }));
  }
}

TEST_CASE("the generated text is reproducible, varied and no two documents are alike") {
  const std::vector<std::string> text = synthetic_text(200'000);
  CHECK(synthetic_text(200'000) == text);
  CHECK(synthetic_text(200'000, 2) != text);
  CHECK(std::set<std::string>(text.begin(), text.end()).size() == text.size());
  std::int64_t bytes = 0;
  for (const std::string& document : text) bytes += static_cast<std::int64_t>(document.size());
  CHECK(bytes >= 200'000);
  CHECK(bytes < 210'000);
}

TEST_CASE("the Bible's chapters, where the program is installed") {
  if (std::system("command -v bible >/dev/null 2>&1") != 0) {
    SKIP_TEST("the program bible is not installed");
  }
  const std::string text = export_bible();
  const std::vector<Chapter> chapters = parse_bible(text, "export");
  REQUIRE(chapters.size() == 1189);
  CHECK(chapters[0].book == "Genesis");
  CHECK_THAT(chapters[0].text,
             Catch::Matchers::StartsWith("In the beginning God created the heaven and the earth.\nAnd the earth"));
  CHECK(chapters[1188].book == "Revelation");
  CHECK(chapters[1188].number == 22);
  CHECK_THAT(chapters[1188].text,
             Catch::Matchers::EndsWith("The grace of our Lord Jesus Christ be with you all. Amen."));
  CHECK(text.find("  ") == std::string::npos);
  std::vector<TextDocument> documents;
  for (const Chapter& chapter : chapters) documents.push_back({chapter.text, chapter.book});
  const std::vector<bool> held = choose_held_out(documents, 0.05);
  CHECK(std::count(held.begin(), held.end(), true) == 59);
  std::set<std::string> books;
  for (std::size_t i = 0; i < held.size(); ++i)
    if (held[i]) books.insert(documents[i].group);
  CHECK(books.size() > 20);  // spread
  CHECK(books.count("Jude") == 0);
}

TEST_CASE("a Bible file that is something else is refused with its place") {
  CHECK_THAT(error_of([] { parse_bible("Genesis 1\nverse\n\nNonsense\n", "b.txt"); }).message(), Contains("b.txt:4"));
  CHECK_THAT(error_of([] { parse_bible("Genesis 1\nverse\n", "b.txt"); }).message(), Contains("1 chapters"));
}

TEST_CASE("compressors' bits per byte, alone and after the training text") {
  std::string training, validation;
  for (const std::string& document : synthetic_text(200'000)) training += document + "\n";
  for (const std::string& document : synthetic_text(20'000, 7)) validation += document + "\n";
  const std::vector<Baseline> rows = validation_baselines(validation, training + validation, 3);
  REQUIRE(rows.size() == 6);
  for (const Baseline& row : rows) {
    INFO(row.name);
    CHECK(row.bits_per_byte > 0);
    CHECK(row.bits_per_byte < 5);
  }
  // A text that was seen before costs next to nothing.
  CHECK(rows[4].bits_per_byte < 0.1);
  CHECK(rows[5].bits_per_byte < 0.1);
  CHECK(validation_baselines(validation).size() == 4);
  CHECK(validation_baselines("").empty());
}
