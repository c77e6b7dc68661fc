// What yaml-cpp lets pass or trips over: closed here, never a crash.
#include <random>

#include "tests/unit/config/fixture.h"

using namespace caddie_test;

TEST_CASE("Duplicate keys are errors that name both places") {
  const auto problems = problems_in(replaced(kValid, "  sequence: 64", "  sequence: 64\n  sequence: 128"));
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].message == "the key 'sequence' is given twice");
  CHECK(problems[0].line == 9);
  CHECK(problems[0].column == 3);
  CHECK(problems[0].note == "first on line 8, column 3");
  CHECK(problems_in(replaced(kValid, "layers: 3", "layers: 3, \"layers\": 4")).at(0).note ==
        "first on line 6, column 42");
}

TEST_CASE("Merge keys, tags and keys that are not texts are refused") {
  CHECK(problems_in(replaced(kValid, "{match: matrix, use: muon", "{<<: {a: b}, match: matrix, use: muon"))
            .at(0).message == "merge keys ('<<') are not supported");
  CHECK(problems_in(replaced(kValid, "seed: 7", "seed: !!str 7")).at(0).message ==
        "tags are not supported, found '!!str'");
  CHECK(problems_in(replaced(kValid, "seed: 7", "seed: !mine 7")).at(0).message ==
        "tags are not supported, found '!mine'");
  CHECK(problems_in(replaced(kValid, "seed: 7", "[1, 2]: 7")).at(0).message ==
        "a key must be a text, this one is a list or a map");
  CHECK(problems_in(replaced(kValid, "seed: 7", "? {a: 1}\n: 7")).at(0).message ==
        "a key must be a text, this one is a list or a map");
  CHECK(problems_in(replaced(kValid, "seed: 7", "~: 7")).at(0).message ==
        "a key must be a text, this one is null or an alias");
  CHECK(problems_in(replaced(kValid, "seed: 7", "7: 7")).at(0).message == "unknown key '7'");
}

TEST_CASE("Files that are not manifests") {
  const auto first = [](const std::string& text) { return problems_in(text).at(0); };
  CHECK(first("- a\n- b\n").message == "a manifest is a map of keys and values, this is a list or a single value");
  CHECK(first("hello").message == "a manifest is a map of keys and values, this is a list or a single value");
  CHECK(first("# nothing\n").message.find("does not begin with 'caddie: 1'") != std::string::npos);
  CHECK(first(std::string(kValid) + "---\ncaddie: 1\n").message == "a second document begins here; a file holds one");
  Problem p = first(std::string("caddie: 1\nname: a\0b\n", 20));
  CHECK(p.message == "the control character 0x00 is not allowed");
  CHECK(p.line == 2);
  CHECK(p.column == 8);
  CHECK(first("caddie: 1\nname: \xff\xfe\n").message == "the byte 0xff is not UTF-8 text");
  CHECK(first("name: \xc0\x80").message == "the byte 0xc0 is not UTF-8 text");
  CHECK(first("name: \xed\xa0\x80").message == "the byte 0xed is not UTF-8 text");
  p = first("caddie: 1\ntrain:\n\tsequence: 64\n");
  CHECK(p.message == "a tab in the indentation");
  CHECK(p.line == 3);
  CHECK(p.column == 1);
  CHECK(first("a: b: c\n").message == "a ':' is not allowed here: check the indentation, or quote the value");
  CHECK(first(std::string(2 << 20, 'a')).message.find("accepted: at most 1048576") != std::string::npos);
  CHECK(first("name: 'x").line == 1);
  CHECK(first("sweep: x\nbase: y\n").message == "this is a sweep, accepted here: a manifest of one run");
  CHECK_NOTHROW(resolve("\xef\xbb\xbf" + std::string(kValid)));
  std::string windows = kValid;
  for (std::size_t i = 0; (i = windows.find('\n', i)) != std::string::npos; i += 2) windows.insert(i, "\r");
  CHECK(resolve(windows)["train"] == resolve(kValid)["train"]);
}

TEST_CASE("Nesting and aliases have limits") {
  CHECK(problems_in("a: " + std::string(100, '[') + std::string(100, ']')).at(0).message ==
        "nested more than 64 levels deep");
  CHECK(problems_in("a: " + std::string(100000, '[')).size() > 0);
  CHECK(problems_in("a: " + std::string(100000, '{')).at(0).message.size() > 0);
  std::string block;
  for (int i = 0; i < 500; ++i) block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  CHECK(problems_in(block).at(0).message == "nested more than 64 levels deep");
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += concat("a", i, ": &a", i, " [");
    for (int j = 0; j < 10; ++j) bomb += concat(j ? ", " : "", "*a", i - 1);
    bomb += "]\n";
  }
  CHECK(problems_in(bomb).at(0).message == "more than 100000 values, aliases counted");
  CHECK(problems_in("a: &a [*a]\n").at(0).message == "this alias stands inside its own anchor");
  CHECK(problems_in("a: *b\n").at(0).message == "'*' begins an alias, and there is no such anchor");
}

TEST_CASE("No mutation of a manifest gives anything but a manifest or a ManifestError") {
  const Folder folder;
  std::mt19937_64 random(20261124);
  const std::string valid = kValid;
  const char* pieces[] = {"[", "]", "{", "}", ": ", "- ", "&a ", "*a", "<<: ", "\n", "\n\t", "'", "\"", "#", "|\n",
                          ">-\n",
                          "!!", "%", "---\n", "...\n", "? ", "~", "null", ".inf", "010", "\\", "\xc3", "\xe2\x86\x92",
                          "\r", "@", "`", ",", "0x", "1e999", "extends: m.yaml\n", "  ", "use"};
  const std::size_t count = std::size(pieces);
  int accepted = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = valid;
    for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, random() % 12); break;
        case 2: text.insert(at, pieces[random() % count]); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 30)); break;
      }
    }
    const std::string file = folder.write("m.yaml", text);
    try {
      const Manifest manifest = load(file);
      CHECK(manifest.resolved.is_object());
      ++accepted;
    } catch (const ManifestError& error) {
      CHECK(!error.problems().empty());
      for (const Problem& problem : error.problems()) CHECK(problem.message.size() > 3);
      ++refused;
    }  // anything else fails the test
  }
  CHECK(accepted > 20);
  CHECK(refused > 1000);
}

TEST_CASE("No override gives anything but a manifest or a ManifestError") {
  const Folder folder;
  const std::string file = folder.write("m.yaml", kValid);
  std::mt19937_64 random(7);
  const char* pieces[] = {"train", "optimizers", ".", "=", "[", "]", "match=", "matrix", "0", "99999999999999999999",
                          "null",
                          "{", "}", ",", "use", "sgd", "ttt", "*", "&", "'", "\"", " ", "\n", "\xff", "stop", "-", ":",
                          "#"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::uint64_t n = 1 + random() % 12; n > 0; --n) text += pieces[random() % std::size(pieces)];
    try {
      load(file, {text});
    } catch (const ManifestError& error) {
      CHECK(!render(error.problems()).empty());
    }
  }
}
