// extends, overrides, selectors, origins, paths.
#include "tests/unit/config/fixture.h"

using namespace caddie_test;

TEST_CASE("In extends maps merge and lists replace, through a chain") {
  const Folder folder;
  folder.write("base/reference.yaml", kValid);
  folder.write("middle.yaml", "extends: base/reference.yaml\ntrain:\n  schedule: {shape: cosine}\n");
  const std::string file = folder.write("ablations/lr.yaml",
                                        "extends: ../middle.yaml\nname: lr\ntrain: {sequence: 32}\n"
                                        "optimizers:\n  - {match: '*', use: adamw, learning_rate: 1}\n");
  const Manifest m = load(file);
  CHECK(m.resolved["name"] == "lr");
  CHECK(m.resolved["seed"] == 7);
  CHECK(m.resolved["train"]["sequence"] == 32);
  CHECK(m.resolved["train"]["schedule"]["shape"] == "cosine");
  CHECK(m.resolved["train"]["tokens_per_step"] == 1024);
  CHECK(m.resolved["optimizers"].size() == 1);
  // A path in a file is relative to that file.
  CHECK(m.resolved["data"]["tokenizer"] == (folder.path / "base/bpe.model").string());
  REQUIRE(m.sources.size() == 3);
  CHECK(m.sources[0] == fs::path(file));
  CHECK(m.sources[2] == folder.path / "base/reference.yaml");

  CHECK(m.origin("name") == file + ":2");
  CHECK(m.origin("train.schedule.shape") == (folder.path / "middle.yaml").string() + ":3");
  CHECK(m.origin("seed") == (folder.path / "base/reference.yaml").string() + ":3");
  CHECK(m.origin("optimizers[0].learning_rate") == file + ":5");
  CHECK(m.origin("optimizers[0].beta1") == "default");
  CHECK(m.origin("model.use") == (folder.path / "base/reference.yaml").string() + ":6");
  CHECK(load(file, {"seed=9"}).origin("seed") == "command line: seed=9");
}

TEST_CASE("A mistake in a base is told with the base's name and position") {
  const Folder folder;
  const std::string base = folder.write("base.yaml", replaced(kValid, "seed: 7", "sede: 7"));
  const auto problems = problems_of(folder.write("top.yaml", "extends: base.yaml\nnmae: x\n"), {"trian.sequence=3"});
  REQUIRE(problems.size() == 3);
  CHECK(problems[0].file == (folder.path / "top.yaml").string());
  CHECK(problems[0].line == 2);
  CHECK(problems[1].file == base);
  CHECK(problems[1].line == 3);
  CHECK(problems[2].file == "command line");
  CHECK(problems[2].suggestion == "train");
}

TEST_CASE("A cycle and a missing base are errors that name them") {
  const Folder folder;
  folder.write("a.yaml", "extends: b.yaml\n");
  folder.write("b.yaml", "name: b\nextends: a.yaml\n");
  const Problem p = problems_of((folder.path / "a.yaml").string()).at(0);
  const std::string a = (folder.path / "a.yaml").string(), b = (folder.path / "b.yaml").string();
  CHECK(p.message == concat("'extends' goes round in a circle: ", a, " → ", b, " → ", a));
  CHECK(p.file == b);
  CHECK(p.line == 2);
  CHECK(p.column == 10);
  CHECK(problems_of(folder.write("self.yaml", "extends: ./self.yaml\n")).size() == 1);
  const Problem missing = problems_of(folder.write("c.yaml", "extends: nowhere/d.yaml\n")).at(0);
  CHECK(missing.message == concat("the manifest '", (folder.path / "nowhere/d.yaml").string(), "' does not exist"));
  CHECK(missing.line == 1);
  CHECK(missing.column == 10);
  CHECK(problems_of(folder.write("e.yaml", "extends: [a.yaml]\n")).at(0).message == "'extends' names one file");
}

TEST_CASE("Overrides") {
  CHECK(resolve(kValid, {"train.checkpoint.steps=10"})["train"]["checkpoint"]["steps"] == 10);
  CHECK(resolve(kValid, {"name=a=b"})["name"] == "a=b");
  CHECK(resolve(kValid, {"seed=1", "seed=2"})["seed"] == 2);
  // Maps merge, lists replace.
  const Json r = resolve(kValid, {"train.stop={steps: 5}", "train.fake_quant=[]", "evaluate={tokens: 100}"});
  CHECK(r["train"]["stop"] == Json({{"seconds", 60.0}, {"steps", 5}}));
  CHECK(r["train"]["fake_quant"] == Json::array());
  CHECK(r["evaluate"]["sliding"]["stride"] == 16);
  CHECK(r["evaluate"]["tokens"] == 100);
  // On the command line paths are relative to the working directory.
  CHECK(resolve(kValid, {"data.tokenizer=x/y.model"})["data"]["tokenizer"] ==
        (fs::current_path() / "x/y.model").string());
  CHECK(resolve(kValid, {"data.train='*.bin'"})["data"]["train"] ==
        Json::array({(fs::current_path() / "*.bin").string()}));
}

TEST_CASE("Selectors choose entries of a list") {
  Json r = resolve(kValid, {"quantize.tensors[match=embedding].use=gptq", "quantize.tensors[match=embedding].bits=6"});
  CHECK(r["quantize"]["tensors"][1] ==
        Json({{"match", "embedding"}, {"use", "gptq"}, {"bits", 6}, {"damping", 0.01}}));
  r = resolve(kValid, {"optimizers[use=adamw].beta1=0.5"});
  CHECK(r["optimizers"][1]["beta1"] == 0.5);
  CHECK(r["optimizers"][2]["beta1"] == 0.5);
  CHECK(resolve(kValid, {"optimizers[0].weight_decay=0"})["optimizers"][0]["weight_decay"] == 0.0);
  const std::string named = replaced(kValid, "match: vector", "match: blocks.*.scale=x");
  CHECK(resolve(named, {"optimizers[match=blocks.*.scale=x].beta1=0.25"})["optimizers"][2]["beta1"] == 0.25);

  const Problem none = problems_in(kValid, {"quantize.tensors[match=embeding].bits=5"}).at(0);
  CHECK(none.message == "no entry of 'tensors' has match 'embeding'");
  CHECK(none.suggestion == "embedding");
  CHECK(none.note == "there are: matrix, embedding");
  CHECK(none.column == 10);
  CHECK(none.length == 23);
  CHECK(problems_in(kValid, {"optimizers[3].beta1=0.5"}).at(0).message ==
        "'optimizers' has 3 entries, there is no [3]");
  CHECK(problems_in(kValid, {"optimizers.beta1=0.5"}).at(0).note == "choose entries with [key=value] or [0]");
  CHECK(problems_in(kValid, {"train[match=x].y=0.5"}).at(0).message ==
        "'train' is not a list, nothing can be selected in it");
}

TEST_CASE("Overrides that are wrong") {
  const auto first = [](const char* text) { return problems_in(kValid, {text}).at(0); };
  CHECK(first("seed").message == "'seed' is not an override");
  CHECK(first("=3").message == "the path '' has an empty key");
  CHECK(first("a..b=3").message == "the path 'a..b' has an empty key");
  CHECK(first("optimizers[match=x=3").message == "'optimizers[match=x=3' is not an override");
  CHECK(first("optimizers[].x=3").message == "the selector '[]' is not understood");
  CHECK(first("optimizers[0]x=3").message == "after a selector comes '.' or '='");
  CHECK(first("extends=b.yaml").message == "'extends' belongs to a file and cannot be overridden");
  CHECK(first("seed.x=3").message == "'x' is looked for in the value '7'");
  Problem p = first("train.stop.stepz=3");
  CHECK(p.message == "unknown key 'stepz' in 'train.stop'");
  CHECK(p.suggestion == "steps");
  CHECK(p.column == 12);
  CHECK(render(std::vector{p}) ==
        "error: unknown key 'stepz' in 'train.stop'\n  --> command line: train.stop.stepz=3\n"
        "                               ^^^^^ did you mean 'steps'?\n1 error; nothing was run.");
  p = first("train.stop.steps=ten");
  CHECK(p.column == 18);
  CHECK(p.length == 3);
  CHECK(first("data.train=*.bin").note == "quote a pattern that begins with '*'");
  CHECK(first("seed=[1").message == "a ']' or ',' is missing");
  std::string deep = "a";
  for (int i = 0; i < 5000; ++i) deep += ".a";
  CHECK(first((deep + "=1").c_str()).message == "the path has more than 32 keys");
}

TEST_CASE("A change of use drops what the new plugin does not have, and says so") {
  const Folder folder;
  const std::string base = folder.write("base.yaml", kValid);
  Manifest m = load(base, {"quantize.tensors[match=matrix].use=round"});
  CHECK(m.resolved["quantize"]["tensors"][0] == Json({{"match", "matrix"}, {"use", "round"}, {"bits", 5}}));
  REQUIRE(m.notes.size() == 1);
  CHECK(m.notes[0] ==
        concat("quantize.tensors[0]: 'damping' (", base, ":21) is dropped, quantizer 'round' does not have it"));

  m = load(folder.write("none.yaml", "extends: base.yaml\nttt: {use: none}\n"));
  CHECK(m.resolved["ttt"] == Json({{"use", "none"}, {"chunk", 4096}, {"documents", false}, {"freeze", Json::array()}}));
  CHECK(m.notes.size() == 1);

  // What is set together with the new plugin, or after it, is meant for it.
  CHECK(problems_of(folder.write("bad.yaml", "extends: base.yaml\nttt: {use: none, epochs: 2}\n")).at(0).message ==
        "unknown option 'epochs' for ttt 'none'");
  CHECK(problems_of(base, {"ttt.use=none", "ttt.epochs=2"}).at(0).message == "unknown option 'epochs' for ttt 'none'");
  // The same plugin again changes nothing, so a misspelt option below it stays an error.
  folder.write("typo.yaml", replaced(kValid, "epochs: 3", "epoch: 3"));
  CHECK(problems_of(folder.write("same.yaml", "extends: typo.yaml\nttt: {use: sgd}\n")).size() == 1);
  CHECK(problems_of((folder.path / "typo.yaml").string(), {"ttt.use=sgd"}).size() == 1);
  CHECK_NOTHROW(load((folder.path / "typo.yaml").string(), {"ttt.use=none"}));
}

TEST_CASE("A section that was taken away comes back") {
  const Folder folder;
  folder.write("base.yaml", kValid);
  folder.write("off.yaml", "extends: base.yaml\nttt: null\n");
  const Json r = load(folder.write("on.yaml", "extends: off.yaml\nttt: {use: sgd}\n")).resolved;
  CHECK(r["ttt"]["epochs"] == 20);
  CHECK(r["ttt"]["chunk"] == 131072);
}

TEST_CASE("The newest layer that names data takes the place of another way to name it") {
  const auto data = [](std::vector<std::string> overrides) { return resolve(kValid, overrides)["data"]; };
  CHECK(data({"data.text=synthetic"})["text"] == "synthetic");
  CHECK(data({"data.text=synthetic"})["train"].is_null());
  const Json pulled = data({"data.text=synthetic", "data.dataset=owner/name@v1.2", "data.shards=3"});
  CHECK(pulled["dataset"] == "owner/name@v1.2");
  CHECK(pulled["shards"] == 3);
  CHECK(pulled["text"].is_null());
  CHECK(pulled["train"].is_null());
  const Json shards = data({"data.dataset=owner/name", "data.variant=sp1024", "data.train=/a/t_*.bin",
                            "data.validation=/a/v.bin", "data.tokenizer=/a/t.model"});
  CHECK(shards["dataset"].is_null());
  CHECK(shards["variant"].is_null());
  CHECK(shards["tokenizer"] == "/a/t.model");
  // Taking away is not naming, and a part of another way is not enough.
  CHECK(data({"data.text=null"})["train"].is_array());
  CHECK(data({"data.shards=2"})["train"].is_array());

  const Folder folder;
  folder.write("base.yaml", kValid);
  const Manifest m = load(folder.write("top.yaml", "extends: base.yaml\ndata: {dataset: owner/name}\n"));
  CHECK(m.resolved["data"]["tokenizer"].is_null());
  CHECK(m.notes.at(0).find("'train'") != std::string::npos);
}
