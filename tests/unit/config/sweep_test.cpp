// Sweeps: what they expand to, and all their mistakes in one pass.
#include "core/config/sweep.h"

#include "tests/unit/config/fixture.h"

using namespace caddie_test;

namespace {

struct SweepFolder : Folder {
  SweepFolder() { write("base.yaml", kValid); }
  Sweep sweep(const std::string& text) const {
    static const FakeSchemas schemas;
    return load_sweep(write("sweeps/s.yaml", text), schemas);
  }
  std::vector<Problem> problems(const std::string& text) const {
    try {
      sweep(text);
    } catch (const ManifestError& error) {
      return error.problems();
    }
    FAIL("the sweep was accepted");
    return {};
  }
};

std::vector<std::string> names(const Sweep& sweep) {
  std::vector<std::string> result;
  for (const Sweep::Variant& variant : sweep.variants) result.push_back(variant.name);
  return result;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("A run's manifest in place of a sweep is told in one line") {
  const SweepFolder folder;
  const auto problems = folder.problems(kValid);
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].message.find("a manifest of one run") != std::string::npos);
}

TEST_CASE("Variants with seeds") {
  const SweepFolder folder;
  const Sweep sweep = folder.sweep(R"(sweep: what_did_not_work
base: ../base.yaml
seeds: [1, 2, 3]
overrides:
  train.stop.steps: 200
variants:
  embedding_round:
    quantize.tensors[match=embedding].use: round
    quantize.tensors[match=embedding].bits: 5
  ttt_none:
    ttt.use: none
  base: {}
)");
  CHECK(sweep.name == "what_did_not_work");
  CHECK(sweep.base == folder.path / "base.yaml");
  CHECK(names(sweep) == Names{"embedding_round", "ttt_none", "base"});
  CHECK(sweep.variants[0].overrides ==
        Names{"train.stop.steps=200", "quantize.tensors[match=embedding].use=round",
              "quantize.tensors[match=embedding].bits=5"});
  CHECK(sweep.variants[0].resolved["quantize"]["tensors"][1]["bits"] == 5);
  const auto runs = expand(sweep);
  REQUIRE(runs.size() == 9);
  CHECK(runs[1].name == "embedding_round");
  CHECK(runs[1].seed == 2);
  CHECK(runs[1].overrides.back() == "seed=2");
  CHECK(runs[8].name == "base");
  // What a run is given resolves to what was checked.
  for (const SweepRun& run : runs) {
    const Json resolved = load(sweep.base.string(), run.overrides).resolved;
    CHECK(resolved["seed"] == run.seed);
    CHECK(resolved["train"]["stop"]["steps"] == 200);
  }
  CHECK(load(sweep.base.string(), runs[3].overrides).resolved["ttt"]["use"] == "none");
}

TEST_CASE("Grid, zip and a sweep without points") {
  const SweepFolder folder;
  const std::string head = "sweep: s\nbase: ../base.yaml\n";
  Sweep sweep = folder.sweep(head + "grid:\n  quantize.tensors[match=matrix].bits: [4, 5]\n"
                                    "  compress.quality: [1, 5, 9]\n");
  CHECK(names(sweep) == Names{"bits=4,quality=1", "bits=4,quality=5", "bits=4,quality=9", "bits=5,quality=1",
                              "bits=5,quality=5", "bits=5,quality=9"});
  CHECK(sweep.variants[4].resolved["compress"]["quality"] == 5);
  CHECK(sweep.variants[4].resolved["quantize"]["tensors"][0]["bits"] == 5);
  CHECK(expand(sweep).size() == 6);
  CHECK(expand(sweep)[0].seed == 7);

  sweep = folder.sweep(head + "zip:\n  optimizers[match=matrix].learning_rate: [0.1, 0.2]\n"
                              "  optimizers[match=vector].learning_rate: [0.3, 0.4]\n");
  REQUIRE(sweep.variants.size() == 2);
  CHECK(sweep.variants[1].resolved["optimizers"][0]["learning_rate"] == 0.2);
  CHECK(sweep.variants[1].resolved["optimizers"][2]["learning_rate"] == 0.4);
  CHECK(sweep.variants[0].name != sweep.variants[1].name);

  CHECK(names(folder.sweep(head)) == Names{"base"});
  CHECK(expand(folder.sweep(head + "seeds: 4\n"))[0].overrides == Names{"seed=4"});
  // Seeds that are an axis of the grid.
  CHECK(expand(folder.sweep(head + "grid: {seed: [3, 4]}\n"))[1].seed == 4);
}

TEST_CASE("Values survive the way through the command line") {
  const SweepFolder folder;
  const Sweep sweep = folder.sweep(R"(sweep: s
base: ../base.yaml
variants:
  a:
    data.validation: [a/*.bin, "b, c.bin"]
    data.tokenizer: t.model
    train.fake_quant: [{match: "blocks.*.weight", bits: 4}]
    ttt.freeze: ["#x", 'it''s', "*", "010", "null"]
    optimizers[match=matrix].coefficients: [-1, .5, 2e0]
    train.average.ema: ~
    name: "007"
)");
  const Json resolved = load(sweep.base.string(), sweep.variants[0].overrides).resolved;
  CHECK(resolved == sweep.variants[0].resolved);
  CHECK(resolved["data"]["validation"][0] == (folder.path / "sweeps/a/*.bin").string());
  CHECK(resolved["data"]["tokenizer"] == (folder.path / "sweeps/t.model").string());
  CHECK(resolved["ttt"]["freeze"] == Json({"#x", "it's", "*", "010", "null"}));
  CHECK(resolved["name"] == "007");
}

TEST_CASE("Random draws are in range and repeat") {
  const SweepFolder folder;
  const std::string text = R"(sweep: s
base: ../base.yaml
random:
  trials: 40
  seed: 3
  space:
    optimizers[match=matrix].learning_rate: {min: 0.001, max: 0.1, scale: log}
    quantize.tensors[match=matrix].bits: {min: 3, max: 5}
    compress.quality: [1, 2]
)";
  const Sweep sweep = folder.sweep(text);
  REQUIRE(sweep.variants.size() == 40);
  int low = 0, bits[9] = {};
  for (const Sweep::Variant& variant : sweep.variants) {
    const double rate = variant.resolved["optimizers"][0]["learning_rate"];
    CHECK((rate >= 0.001 && rate <= 0.1));
    low += rate < 0.01;
    ++bits[variant.resolved["quantize"]["tensors"][0]["bits"].get<int>()];
  }
  CHECK((low > 8 && low < 32));  // half of the draws, on a log scale
  CHECK((bits[3] > 0 && bits[4] > 0 && bits[5] > 0));
  CHECK(bits[3] + bits[4] + bits[5] == 40);
  CHECK(folder.sweep(text).variants[39].overrides == sweep.variants[39].overrides);
  CHECK(folder.problems(replaced(text, "min: 0.001", "min: 0")).at(0).message == "a log scale needs 0 < min <= max");
}

TEST_CASE("Ablations") {
  const SweepFolder folder;
  const std::string features = "    ema: {train.average.ema: 0.9}\n    ttt: {ttt.epochs: 5}\n";
  Sweep sweep = folder.sweep("sweep: s\nbase: ../base.yaml\nablate:\n  leave_one_out:\n" + features);
  CHECK(names(sweep) == Names{"all", "without_ema", "without_ttt"});
  CHECK(sweep.variants[0].overrides == Names{"train.average.ema=0.9", "ttt.epochs=5"});
  CHECK(sweep.variants[1].overrides == Names{"ttt.epochs=5"});
  sweep = folder.sweep("sweep: s\nbase: ../base.yaml\nablate:\n  add_one_in:\n" + features);
  CHECK(names(sweep) == Names{"none", "with_ema", "with_ttt"});
  CHECK(sweep.variants[0].overrides.empty());
  CHECK(sweep.variants[2].overrides == Names{"ttt.epochs=5"});
}

TEST_CASE("All mistakes of a sweep are told in one pass") {
  const SweepFolder folder;
  const auto problems = folder.problems(R"(sweep: s
base: ../base.yaml
sedes: [1]
seeds: [1, 1, -2]
overrides:
  train.stop.stepz: 200
variants:
  a:
    quantize.tensors[match=matrx].bits: 5
  b:
    ttt.use: sdg
    train.micro_batches: 3
)");
  std::vector<std::string> said;
  for (const Problem& p : problems) said.push_back(concat(p.line, ":", p.column, " ", p.message));
  CHECK(said == Names{"3:1 unknown key 'sedes' in a sweep", "4:12 the seed 1 is given twice",
                      "4:15 'seeds' holds -2, accepted: integers of at least 0",
                      "6:14 unknown key 'stepz' in 'train.stop'", "9:14 no entry of 'tensors' has match 'matrx'",
                      "11:14 unknown ttt 'sdg'",
                      "9:20 'train.tokens_per_step' is 1024, accepted: "
                      "a multiple of micro_batches x sequence = 3 x 64 = 192"});
  CHECK(problems.back().file == (folder.path / "base.yaml").string());
  CHECK(problems.back().note == "in 'b'");
}

TEST_CASE("A sweep whose base is wrong, and other shapes") {
  const SweepFolder folder;
  folder.write("bad.yaml", replaced(kValid, "seed: 7", "sede: 7"));
  const auto problems = folder.problems("sweep: s\nbase: ../bad.yaml\nvariants: {a: {}, b: {}}\n");
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].file == (folder.path / "bad.yaml").string());
  CHECK(problems[0].note.empty());
  const auto first = [&](const std::string& text) { return folder.problems(text).at(0).message; };
  CHECK(first("sweep: s\n") == "'base' is missing");
  CHECK(folder.problems("sweep: s\nbase: ../bse.yaml\n").at(0).suggestion == "base.yaml");
  CHECK(folder.problems("sweep: s\nbase: ../bse.yaml\n").at(0).line == 2);
  CHECK(first("sweep: s\nbase: ../base.yaml\nvariants: [a]\n") == "'variants' is a list, accepted: a map");
  CHECK(first("sweep: s\nbase: ../base.yaml\nvariants: {}\n") == "'variants' is empty: there is nothing to run");
  CHECK(first("sweep: s\nbase: ../base.yaml\nvariants: {a: {}}\ngrid: {seed: [1]}\n") ==
        "'grid' and 'variants' exclude each other");
  CHECK(first("sweep: s\nbase: ../base.yaml\ngrid: {seed: 1}\n") ==
        "'grid' holds 1 for 'seed', accepted: a list of values");
  CHECK(first("sweep: s\nbase: ../base.yaml\nzip: {seed: [1, 2], threads: [1]}\n") ==
        "'threads' has 1 values, accepted: 2, as many as the first key of 'zip'");
  CHECK(first("sweep: a/b\nbase: ../base.yaml\n").find("'sweep' is the text 'a/b'") == 0);
  CHECK(first("sweep: s\nbase: ../base.yaml\nseeds: [1]\nvariants: {a: {seed: 3}}\n") ==
        "'seed' is overridden, and the sweep has 'seeds'");
  std::string huge = "sweep: s\nbase: ../base.yaml\ngrid:\n";
  for (int i = 0; i < 20; ++i) huge += concat("  k", i, ": [1, 2, 3, 4]\n");
  CHECK(first(huge) == "'grid' has more than 10000 combinations");
  CHECK(is_sweep(folder.write("x.yaml", "sweep: s\n")));
  CHECK_FALSE(is_sweep((folder.path / "base.yaml").string()));
  CHECK_FALSE(is_sweep((folder.path / "nothing.yaml").string()));
}

TEST_CASE("exclude leaves out combinations, also those that make no sense, by what their manifests hold") {
  const SweepFolder folder;
  const std::string head = "sweep: s\nbase: ../base.yaml\nseeds: [1, 2]\n";
  const std::string grid =
      "grid:\n  quantize.tensors[match=matrix].bits: [4, 5, 99]\n  compress.quality: [1, 5, 9]\n";
  const Sweep sweep = folder.sweep(head + grid +
                                   "exclude:\n  - quantize.tensors[match=matrix].bits: 99\n"
                                   "  - quantize.tensors[match=matrix].bits: 4\n    compress.quality: [5, 9]\n"
                                   "  - {compress.quality: 9, seed: 2}\n");
  CHECK(names(sweep) == Names{"bits=4,quality=1", "bits=5,quality=1", "bits=5,quality=5", "bits=5,quality=9"});
  const auto runs = expand(sweep);
  REQUIRE(runs.size() == 7);
  CHECK(runs.back().seed == 1);

  CHECK(folder.problems(head + "exclude: [{compress.qualitty: 1}]\n").at(0).message.find("no run") != std::string::npos);
  CHECK(folder.problems(head + "exclude: [{seed: [1, 2]}]\n").at(0).message.find("nothing to run") != std::string::npos);
  CHECK(folder.problems(head + "exclude: {seed: 1}\n").at(0).message.find("list of maps") != std::string::npos);
}

TEST_CASE("runs that share their machine with no other") {
  const SweepFolder folder;
  const std::string head = "sweep: s\nbase: ../base.yaml\nvariants: {a: {}, b: {seed: 2}}\n";
  CHECK(expand(folder.sweep(head + "exclusive: true\n")).at(0).exclusive);
  const auto runs = expand(folder.sweep(head + "exclusive: [b]\n"));
  CHECK_FALSE(runs.at(0).exclusive);
  CHECK(runs.at(1).exclusive);
  CHECK(folder.problems(head + "exclusive: [c]\n").size() == 1);
}

TEST_CASE("overrides of the command line join those of the sweep") {
  const SweepFolder folder;
  static const FakeSchemas schemas;
  const auto file = folder.write("sweeps/o.yaml", "sweep: s\nbase: ../base.yaml\nseeds: [1]\noverrides: {train.stop.steps: 200}\n");
  const std::vector<std::string> changes = {"train.stop.steps=7", "seeds=[4, 5]"};
  const Sweep sweep = load_sweep(file, schemas, changes);
  CHECK(sweep.seeds == std::vector<std::int64_t>{4, 5});
  CHECK(sweep.variants.at(0).resolved["train"]["stop"]["steps"] == 7);
  const std::vector<std::string> wrong = {"train.stop.stepps=7"};
  try {
    load_sweep(file, schemas, wrong);
    FAIL("accepted");
  } catch (const ManifestError& error) {
    CHECK(error.problems().at(0).file == "command line");
  }
}
