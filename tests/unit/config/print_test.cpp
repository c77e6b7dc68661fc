// Resolved manifests as YAML, differences, and the JSON Schema.
#include "core/config/print.h"

#include "core/config/json_schema.h"
#include "core/config/schema.h"
#include "tests/unit/config/fixture.h"

using namespace caddie_test;

TEST_CASE("A printed manifest loads again as the same one") {
  const Folder folder;
  const Manifest m = load(folder.write("m.yaml", kValid),
                          {"ttt.freeze=['#a', null_, 'it''s', '010', yes]", "name=1e3"});
  const std::string printed = to_yaml(m, false);
  CHECK(printed.find("caddie: 1\nname: \"1e3\"\nseed: 7\n") == 0);
  CHECK(printed.find("\noptimizers:\n  - match: matrix\n    use: muon\n") != std::string::npos);
  CHECK(load(folder.write("again.yaml", printed)).resolved == m.resolved);
  const std::string with_origins = to_yaml(m, true);
  CHECK(load(folder.write("again2.yaml", with_origins)).resolved == m.resolved);
  CHECK(with_origins.find("# command line: name=1e3\n") != std::string::npos);
  CHECK(with_origins.find("# " + (folder.path / "m.yaml").string() + ":8\n") != std::string::npos);
  const Manifest bare = load(folder.write("n.yaml", kValid),
                             {"quantize=null", "compress=null", "evaluate.sliding=null"});
  CHECK(load(folder.write("again3.yaml", to_yaml(bare, false))).resolved == bare.resolved);
}

TEST_CASE("Differences name the leaves that differ") {
  const auto list = differences(resolve(kValid, {"data.text=null"}),
                                resolve(kValid, {"seed=8", "optimizers[1].beta1=0.5", "ttt.use=none",
                                                 "train.fake_quant=[]"}));
  std::string found;
  for (const Difference& d : list)
    if (d.path.find("data.") != 0) found += concat(d.path, ": ", d.left.dump(), " ", d.right.dump(), "\n");
  CHECK(found == "optimizers[1].beta1: 0.9 0.5\n"
                 "seed: 7 8\n"
                 "train.fake_quant[0]: {\"bits\":6,\"match\":\"attention\"} null\n"
                 "train.fake_quant[1]: {\"bits\":5,\"match\":\"mlp\"} null\n"
                 "ttt.epochs: 3 null\n"
                 "ttt.learning_rate: 0.003 null\n"
                 "ttt.use: \"sgd\" \"none\"\n");
}

TEST_CASE("The JSON Schema describes the core's keys and the plugins' options") {
  const FakeSchemas schemas;
  const Json schema = manifest_json_schema(schemas);
  CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
  const Json& properties = schema["$defs"]["manifest"]["properties"];
  CHECK(properties["precision"]["enum"] == Json({"auto", "float32", "bfloat16"}));
  CHECK(properties["train"]["type"] == Json({"object", "null"}));
  CHECK(properties["train"]["properties"]["sequence"]["minimum"] == 1);
  CHECK(properties["train"]["properties"]["stop"]["properties"]["steps"]["type"] == Json({"integer", "null"}));
  CHECK(properties["train"]["properties"]["fake_quant"]["items"]["required"] == Json({"match", "bits"}));
  const Json& optimizer = properties["optimizers"]["items"];
  CHECK(optimizer["required"] == Json({"use", "match"}));
  CHECK(optimizer["unevaluatedProperties"] == false);
  bool muon = false;
  for (const Json& rule : optimizer["allOf"])
    if (rule["if"]["properties"]["use"]["const"] == "muon") {
      muon = true;
      CHECK(rule["if"]["required"] == Json({"use"}));
      CHECK(rule["then"]["properties"]["newton_schulz_precision"]["enum"] == Json({"bfloat16", "float32"}));
      CHECK(rule["then"]["properties"]["coefficients"]["items"]["maximum"] == 10);
    }
  CHECK(muon);
  CHECK(schema["$defs"]["manifest"]["else"]["required"] == Json({"caddie", "data", "model", "train", "optimizers"}));
  CHECK(schema["$defs"]["sweep"]["required"] == Json({"sweep", "base"}));
  // Every key of the table is described.
  for (const config::KeySpec& key : config::key_table()) CHECK(std::string(key.doc).size() > 3);
}
