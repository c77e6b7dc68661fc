// Every kind of mistake: where it is reported, and in which words.
#include "tests/unit/config/fixture.h"

using namespace caddie_test;

TEST_CASE("An unknown option looks as the documentation promises") {
  const Folder folder;
  const std::string file = folder.write("lr.yaml", replaced(kValid, "{match: matrix, use: muon, learning_rate: 0.02}",
                                                            "match: matrix\n    use: muon\n    lernin_rate: 0.022"));
  try {
    load(file);
    FAIL("accepted");
  } catch (const ManifestError& error) {
    CHECK(error.kind() == ErrorKind::usage);
    CHECK(std::string(error.what()) == concat("error: unknown option 'lernin_rate' for optimizer 'muon'\n  --> ", file,
                                              ":17:5\n   17 |     lernin_rate: 0.022\n"
                                              "      |     ^^^^^^^^^^^ did you mean 'learning_rate'?   "
                                              "caddie plugin info muon lists all\n1 error; nothing was run."));
  }
}

TEST_CASE("All problems of a file are told in one pass, in its order") {
  std::string text = replaced(kValid, "seed: 7", "sede: 7");
  text = replaced(text, "sequence: 64", "sequence: abc");
  text = replaced(text, "bits: 6", "bits: 9");
  text = replaced(text, "use: brotli", "use: brotly");
  text = replaced(text, "stride: 16", "stride: 0");
  const auto problems = problems_in(text);
  CHECK(only(problems) ==
        "3:1 unknown key 'sede'\n"
        "8:13 'train.sequence' is the text 'abc', accepted: integer from 1 to 1048576\n"
        "12:41 'train.fake_quant[0].bits' is 9, accepted: integer from 2 to 8\n"
        "23:17 unknown compressor 'brotly'\n"
        "24:40 'evaluate.sliding.stride' is 0, accepted: integer from 1 to 1048576");
  CHECK(problems[0].suggestion == "seed");
  CHECK(problems[0].length == 4);
  CHECK(problems[1].length == 3);
  CHECK(problems[3].suggestion == "brotli");
  CHECK(problems[3].note == "available: brotli, store");
}

TEST_CASE("Wrong types") {
  const auto say = [](const char* from, const char* to) { return only(problems_in(replaced(kValid, from, to))); };
  CHECK(say("seed: 7", "seed: 1.5") == "3:7 'seed' is 1.5, accepted: integer of at least 0");
  CHECK(say("seed: 7", "seed: [1, 2]") == "3:7 'seed' is a list, accepted: integer of at least 0");
  CHECK(say("seed: 7", "seed: ") == "3:1 'seed' is null, accepted: integer of at least 0");
  CHECK(say("seed: 7", "seed: 99999999999999999999") ==
        "3:7 'seed': '99999999999999999999' does not fit into 64 bits, accepted: integer of at least 0");
  CHECK(say("precision: float32", "precision: float16") ==
        "5:12 'precision' is the text 'float16', accepted: one of auto|float32|bfloat16");
  CHECK(say("stop: {seconds: 60, steps: 100}", "stop: 100") ==
        "11:9 'train.stop' is 100, accepted: a map of keys and values");
  CHECK(say("[{match: attention, bits: 6}, {match: mlp, bits: 5}]", "{match: attention, bits: 6}") ==
        "12:15 'train.fake_quant' is a map, accepted: a list");
  CHECK(say("ema: 0.997", "ema: .nan") ==
        "13:18 'train.average.ema': '.nan' is not a finite number, accepted: number from 0 to 1 or null");
  CHECK(say("use: sgd", "use: [sgd]") == "25:12 'use' is a list, accepted: the name of a ttt");
  CHECK(say("use: sgd, ", "") == "25:1 'ttt.use' is missing: which ttt?");
  CHECK(say("compress: {use: brotli, quality: 9}", "compress: brotli") ==
        "23:11 'compress' is the text 'brotli', accepted: a map with 'use' and the options of a plugin");
  CHECK(say("match: vector, ", "") == "17:5 'optimizers[2].match' is missing");
  CHECK(say("use: adamw, learning_rate: 0.025", "use: adamw") ==
        "17:26 the option 'learning_rate' of optimizer 'adamw' is missing");
  CHECK(say("tokens: all", "tokens: 0") == "24:53 'evaluate.tokens' is 0, accepted: all, or an integer of at least 1");
  CHECK(say("name: small", "name: a/b") .find("2:7 'name' is the text 'a/b', accepted: up to 120") == 0);
  CHECK(say("quality: 9", "quality: 12") ==
        "23:34 the option 'quality' of compressor 'brotli' is 12, accepted: integer from 0 to 11");
}

TEST_CASE("What YAML 1.1 reads differently is explained") {
  const auto first = [](const char* from, const char* to) { return problems_in(replaced(kValid, from, to)).at(0); };
  Problem p = first("seed: 7", "seed: 010");
  CHECK(p.message ==
        "'seed': '010' is octal to some programs and decimal to others, accepted: integer of at least 0");
  CHECK(p.suggestion == "10");
  p = first("seed: 7", "seed: 1_000");
  CHECK(p.message == "'seed': '1_000' is a text in YAML 1.2, accepted: integer of at least 0");
  CHECK(p.suggestion == "1000");
  p = first("calibrate: {source: self", "requantize: yes\n  calibrate: {source: self");
  CHECK(p.message == "'quantize.requantize': 'yes' is a text in YAML 1.2, accepted: boolean");
  CHECK(p.suggestion == "true");
  p = first("seed: 7", "seed: '7'");
  CHECK(p.message == "'seed' is the text '7', accepted: integer of at least 0");
  CHECK(p.suggestion == "7");
  CHECK(p.note == "without quotes");
  CHECK(p.length == 3);
  p = first("tokens_per_step: 1024", "tokens_per_step: 1.024e3");
  CHECK(p.suggestion == "1024");
}

TEST_CASE("Abbreviations are understood") {
  const auto guess = [](const char* key) {
    return problems_in(replaced(kValid, "use: muon", concat("use: muon, ", key, ": 1"))).at(0).suggestion;
  };
  CHECK(guess("lrr") == "learning_rate");
  CHECK(guess("lr") == "learning_rate");
  CHECK(guess("wd") == "weight_decay");
  CHECK(guess("coef") == "coefficients");
  CHECK(guess("ns_precision") == "newton_schulz_precision");
  CHECK(guess("bananas") == "");
  CHECK(problems_in(replaced(kValid, "stop: {seconds", "stop: {secs")).at(0).suggestion == "seconds");
}

TEST_CASE("Keys that are misplaced") {
  Problem p = problems_in(replaced(kValid, "  sequence: 64", "  warmdown: 0.5\n  sequence: 64")).at(0);
  CHECK(p.message == "unknown key 'warmdown' in 'train'");
  CHECK(p.note == "the key 'train.schedule.warmdown' exists");
  p = problems_in(replaced(kValid, "name: small", "name: small\nbananas: 3")).at(0);
  CHECK(p.message == "unknown key 'bananas'");
  CHECK(p.note.find("accepted: caddie, name, seed") == 0);
  p = problems_in(replaced(kValid, "use: gptq", "use: muon")).at(0);
  CHECK(p.message == "unknown quantizer 'muon'");
  CHECK(p.note == "'muon' is an optimizer; available: gptq, int8, round");
}

TEST_CASE("Rules between keys") {
  const auto first = [](std::vector<std::string> overrides) { return problems_in(kValid, overrides).at(0); };
  Problem p = first({"train.micro_batches=3"});
  CHECK(p.message ==
        "'train.tokens_per_step' is 1024, accepted: a multiple of micro_batches x sequence = 3 x 64 = 192");
  CHECK(p.suggestion == "960");
  CHECK(p.line == 9);
  CHECK(p.column == 20);
  CHECK(first({"train.stop={seconds: null, steps: null}"}).message ==
        "training never ends: 'train.stop' has neither seconds nor steps");
  CHECK(problems_in(replaced(kValid, "data: {", "data: {text: synthetic, ")).at(0).message ==
        "'data.train' and 'data.text' exclude each other");
  CHECK(problems_in(replaced(kValid, "data: {", "data: {dataset: owner/name, ")).at(0).message ==
        "'data.train' and 'data.dataset' exclude each other");
  for (const char* name : {"name", "owner/", "owner/na me", "owner/name@", "a/b/c", "owner/name@ "})
    CHECK(first({concat("data.dataset=", name)}).message.find("accepted: OWNER/NAME") != std::string::npos);
  CHECK(first({"data.train=null"}).message == "'data' names nothing to train on");
  CHECK(first({"data.tokenizer=null"}).message == "'data.tokenizer' is missing");
  CHECK(first({"optimizers=[]"}).message == "'optimizers' is empty: no parameter would be trained");
  CHECK(first({"evaluate.sliding.stride=65"}).message.find("accepted: at most train.sequence = 64") !=
        std::string::npos);
  CHECK(first({"train.schedule.by=seconds", "train.stop.seconds=null"}).suggestion == "steps");
  CHECK(first({"train.average.latest={count: 3}"}).message ==
        "'train.average.latest' and 'train.average.swa' exclude each other");
  CHECK(first({"train.sequence_schedule=[{until: 0.3, sequence: 24}]"}).message ==
        "'train.sequence_schedule': a sequence of 24, accepted: one that divides train.sequence = 64");
  CHECK(first({"train.sequence_schedule=[{until: 0.3, sequence: 16}, {until: 0.3, sequence: 32}]"}).message ==
        "'train.sequence_schedule': 'until' is 0.3 after 0.3, accepted: shares of the budget that rise");
}

TEST_CASE("What is missing is said once") {
  CHECK(only(problems_in("caddie: 1\n")) ==
        "0:0 the section 'data' is missing\n0:0 the section 'model' is missing\n"
        "0:0 the section 'train' is missing\n0:0 'optimizers' is missing");
  CHECK(problems_in("").at(0).message.find("does not begin with 'caddie: 1'") != std::string::npos);
  CHECK(problems_in(replaced(kValid, "caddie: 1", "caddie: 2")).at(0).message ==
        "'caddie' is 2, accepted: integer from 1 to 1");
  const Folder folder;
  folder.write("reference.yaml", kValid);
  const auto missing = problems_of((folder.path / "referense.yaml").string());
  REQUIRE(missing.size() == 1);
  CHECK(missing[0].message == concat("the manifest '", (folder.path / "referense.yaml").string(), "' does not exist"));
  CHECK(missing[0].suggestion == "reference.yaml");
  CHECK(problems_of(folder.path.string()).at(0).message.find("is a folder, accepted: a manifest") != std::string::npos);
}

TEST_CASE("Long lines are shown in part, tabs and wide characters keep the caret in place") {
  const std::string line = "name: {" + std::string(5000, 'x') + ": 1, seed: 2}";
  const auto problems = problems_in(replaced(kValid, "name: small", line));
  CHECK(render(problems).size() < 1000);
  const Problem wide = problems_in(replaced(kValid, "{match: attention, bits: 6}", "{match: \"häß→\", bits: 9}")).at(0);
  CHECK(wide.column == 38);
  CHECK(render(std::vector{wide}).find("\n      | " + std::string(37, ' ') + "^\n") != std::string::npos);
}
