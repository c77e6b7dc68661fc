#include "core/artifact/quantize.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "caddie/ops.h"
#include "core/artifact/codes_file.h"
#include "tests/support/catch.h"
#include "tests/unit/artifact/fake_model.h"

using namespace caddie;
using namespace caddie::artifact;
using fakes::FakeModel;
using fakes::FakeQuantizer;

namespace {

QuantizeSettings settings(std::int64_t keep, const Json& tensors, bool requantize = false) {
  return QuantizeSettings::from_json({{"keep_float_elements", keep}, {"tensors", tensors}, {"requantize", requantize}});
}
const Json kUsual = {{{"match", "matrix"}, {"use", "calibrated"}}, {{"match", "embedding"}, {"use", "plain"}}};

struct Run {
  FakeModel model;
  std::map<std::string, std::shared_ptr<FakeQuantizer>> quantizers;
  int calibrations = 0;
  QuantizedModel result;
  explicit Run(const QuantizeSettings& chosen) {
    result = quantize_model(
        model, chosen,
        [&](const Json& entry) {
          const std::string key = entry["match"];
          return quantizers[key] = std::make_shared<FakeQuantizer>(entry["use"] == "calibrated");
        },
        [&] {
          ++calibrations;
          return std::vector<at::Tensor>{random_tokens(FakeModel::kVocabulary, 2, 12, Random(1, "t"), at::kCPU)};
        });
  }
  at::Tensor weight(const std::string& name) {
    for (const auto& parameter : model.parameters())
      if (parameter.name == name) return parameter.tensor;
    return {};
  }
  const StoredTensor& tensor(const std::string& name) const {
    for (const auto& stored : result.tensors)
      if (stored.name == name) return stored;
    throw Error(ErrorKind::failed, "no tensor " + name);
  }
};

}  // namespace

TEST_CASE("weights that share an input reach the quantizer together, with their Hessian") {
  const Run run(settings(0, kUsual));
  const auto& matrix = *run.quantizers.at("matrix");
  CHECK(matrix.calls == std::vector<std::string>{"blocks.0.query.weight+blocks.0.key.weight", "blocks.0.up.weight",
                                                 "blocks.0.down.weight"});
  CHECK(matrix.hessians[2].sizes() == at::IntArrayRef({FakeModel::kHidden, FakeModel::kHidden}));
  CHECK(at::allclose(matrix.hessians[1], matrix.hessians[0].mul(4)));
  CHECK_FALSE(run.quantizers.at("embedding")->hessians[0].defined());
  REQUIRE(run.result.tensors.size() == 6);
  CHECK(run.result.tensors[3].name == "blocks.0.key.weight");  // the model's order
  CHECK(run.result.notes == std::vector<std::string>{"calibrated: calibrated: 4 tensors"});
}

TEST_CASE("weights of one input in different entries are quantized apart") {
  const Run run(settings(0, {{{"match", "*.query.weight"}, {"use", "calibrated"}},
                             {{"match", "*.key.weight"}, {"use", "calibrated"}},
                             {{"match", "mlp"}, {"use", "plain"}},
                             {{"match", "embedding"}, {"use", "plain"}}}));
  CHECK(run.quantizers.at("*.query.weight")->calls == std::vector<std::string>{"blocks.0.query.weight"});
  CHECK(at::equal(run.quantizers.at("*.query.weight")->hessians[0], run.quantizers.at("*.key.weight")->hessians[0]));
}

TEST_CASE("no calibration is made when no quantizer needs one") {
  const Run run(settings(0, {{{"match", "matrix"}, {"use", "plain"}}, {{"match", "embedding"}, {"use", "plain"}}}));
  CHECK(run.calibrations == 0);
  const Run small(settings(1 << 20, kUsual));
  CHECK(small.calibrations == 0);
}

TEST_CASE("vectors are kept in float32, small tensors in float16, and steps are stored in float16") {
  Run run(settings(48, kUsual));
  const auto& scale = run.tensor("blocks.0.scale");
  CHECK(scale.data.codes.scalar_type() == at::kFloat);
  CHECK(scale.relative_error == 0);
  const auto& query = run.tensor("blocks.0.query.weight");  // 48 elements: kept
  CHECK(query.data.codes.scalar_type() == at::kHalf);
  CHECK(query.quantizer == "float16");
  CHECK(query.relative_error > 0);
  CHECK(query.relative_error < 1e-3);
  const auto& up = run.tensor("blocks.0.up.weight");
  CHECK(up.data.steps.scalar_type() == at::kHalf);
  CHECK(up.data.codes.scalar_type() == at::kChar);
  const auto value = decode(up.data);
  CHECK(at::equal(value, up.data.codes.to(at::kFloat).mul(up.data.steps.to(at::kFloat).unsqueeze(1))));
  const auto weight = run.weight("blocks.0.up.weight");
  CHECK(up.relative_error == Approx(value.sub(weight).norm().item<double>() / weight.norm().item<double>()));
}

TEST_CASE("requantize derives the steps again, of calibrated tensors only") {
  const auto weight = at::randn({3, 16});
  auto [codes, steps] = ops::quantize_rows(weight, 5);
  const QuantizedTensor clipped{Encoding::row_codes, codes.clamp(-14, 14), steps, 5, false, "note"};
  const auto again = requantize_rows(clipped, 5);
  CHECK(again.codes.abs().amax(1).min().item<std::int8_t>() == 15);  // every row reaches the top now
  CHECK(again.note == "note");
  const Run once(settings(0, kUsual)), twice(settings(0, kUsual, true));
  CHECK(once.tensor("blocks.0.up.weight").data.codes.abs().max().item<std::int8_t>() == 14);
  CHECK(twice.tensor("blocks.0.up.weight").data.codes.abs().max().item<std::int8_t>() == 15);
  CHECK(twice.tensor("embedding.weight").data.codes.abs().max().item<std::int8_t>() == 14);

  // Small matrices: the calibrated quantizer works on them, and the export keeps the result in float16.
  Run small(settings(48, kUsual, true));
  const auto& query = small.tensor("blocks.0.query.weight");
  CHECK(query.data.encoding == Encoding::plain);
  const auto [own_codes, own_steps] = ops::quantize_rows(small.weight("blocks.0.query.weight"), 5);
  CHECK(at::equal(query.data.codes, own_codes.clamp(-14, 14).to(at::kFloat).mul(own_steps.unsqueeze(1)).to(at::kHalf)));
  Run embedding(settings(192, kUsual, true));
  CHECK(at::equal(embedding.tensor("embedding.weight").data.codes, embedding.weight("embedding.weight").to(at::kHalf)));
}

TEST_CASE("a tensor that no entry or two match, and an entry that matches nothing, are usage errors") {
  FakeModel model;
  const auto refused = [&](const Json& tensors, const std::string& text) {
    try {
      assign_quantizers(model.parameters(), settings(0, tensors));
      FAIL("accepted: " << tensors.dump());
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::usage);
      CHECK_THAT(error.message(), Catch::Contains(text));
    }
  };
  refused({{{"match", "matrix"}, {"use", "a"}}}, "'embedding.weight' (embedding, 192 elements) is matched by no entry");
  refused({{{"match", "matrix"}}, {{"match", "attention"}}, {{"match", "embedding"}}},
          "'blocks.0.query.weight' is matched by the entries matrix and attention");
  refused({{{"match", "matrix"}}, {{"match", "embedding"}}, {{"match", "attn"}}}, "'attn' matches no parameter");
  // Patterns pass vectors over; the role itself does not.
  const auto all = assign_quantizers(model.parameters(), settings(0, {{{"match", "*"}}}));
  CHECK_FALSE(all[2].has_value());
  const auto vectors = assign_quantizers(
      model.parameters(), settings(0, {{{"match", "matrix"}}, {{"match", "embedding"}}, {{"match", "vector"}}}));
  CHECK(vectors[2] == std::optional<std::size_t>(2));
}

TEST_CASE("values that float16 cannot hold are refused, not stored as infinity") {
  CHECK_THROWS_WITH(as_stored({Encoding::row_codes, at::zeros({1, 2}, at::kChar), at::full({1}, 1e6), 5, false, {}}),
                    Catch::Contains("does not fit into float16"));
}

TEST_CASE("decoding rounds to bfloat16 where the tensor says so") {
  const QuantizedTensor tensor{
      Encoding::row_codes, at::full({1, 1}, 3, at::kChar), at::full({1}, 0.1003, at::kHalf), 8, true, {}};
  const auto value = decode(tensor);
  CHECK(value.scalar_type() == at::kFloat);
  CHECK(at::equal(value, value.to(at::kBFloat16).to(at::kFloat)));
  QuantizedTensor unrounded = tensor;
  unrounded.round_bfloat16 = false;
  CHECK_FALSE(at::equal(value, decode(unrounded)));
}

TEST_CASE("the objective is trace(E H E^T)") {
  const auto weight = at::zeros({1, 2}), hessian = at::tensor({2.0f, 1.0f, 1.0f, 3.0f}).view({2, 2});
  CHECK(quadratic_objective(at::tensor({1.0f, 2.0f}).view({1, 2}), weight, hessian) == Approx(2 + 2 * 2 + 12));
}

TEST_CASE("codes come back from disk as they were, and a mismatch is an error") {
  const auto folder = std::filesystem::temp_directory_path() / concat("caddie_codes_", ::getpid());
  Run run(settings(48, kUsual));
  run.result.tensors[0].data.round_bfloat16 = true;
  write_codes(folder, run.result);
  const auto back = read_codes(folder);
  REQUIRE(back.tensors.size() == run.result.tensors.size());
  CHECK(back.notes == run.result.notes);
  for (std::size_t i = 0; i < back.tensors.size(); ++i) {
    const auto &a = back.tensors[i], &b = run.result.tensors[i];
    INFO(b.name);
    CHECK(a.name == b.name);
    CHECK(a.shape == b.shape);
    CHECK(a.role == b.role);
    CHECK(a.quantizer == b.quantizer);
    CHECK(a.relative_error == b.relative_error);
    CHECK(a.data.round_bfloat16 == b.data.round_bfloat16);
    CHECK(at::equal(a.data.codes, b.data.codes));
  }
  CHECK(weights_hash(decode(back.tensors)) == weights_hash(decode(run.result.tensors)));
  std::ofstream(folder / "codes.json") << R"({"version": 1, "tensors": [{"name": "x"}], "notes": []})";
  CHECK_THROWS_WITH(read_codes(folder), Catch::Contains("codes.json"));
  std::filesystem::remove(folder / "codes.safetensors");
  CHECK_THROWS_AS(read_codes(folder), Error);
  std::filesystem::remove_all(folder);
}

TEST_CASE("the weights' hash depends on names, shapes and values, not on their order") {
  const NamedWeights a = {{"x", at::full({2, 3}, 1.0f)}, {"y", at::full({1}, 2.0f)}};
  const NamedWeights reordered = {a[1], a[0]};
  CHECK(weights_hash(a) == weights_hash(reordered));
  CHECK(weights_hash(a) != weights_hash({{"x", at::full({3, 2}, 1.0f)}, a[1]}));
  CHECK(weights_hash(a) != weights_hash({{"z", a[0].second}, a[1]}));
  CHECK(weights_hash(a) != weights_hash({{"x", at::full({2, 3}, 1.5f)}, a[1]}));
}

TEST_CASE("weights are loaded whole or refused by name") {
  FakeModel model, other;
  NamedWeights weights;
  for (const auto& parameter : other.parameters()) weights.emplace_back(parameter.name, parameter.tensor.clone());
  auto missing = weights;
  missing.pop_back();
  CHECK_THROWS_WITH(load_weights(model, missing), Catch::Contains("blocks.0.down.weight"));
  auto wrong = weights;
  wrong[1].second = at::zeros({2, 2});
  CHECK_THROWS_WITH(load_weights(model, wrong), Catch::Contains("blocks.0.query.weight"));
  CHECK_FALSE(at::equal(model.parameters()[0].tensor, other.parameters()[0].tensor));
  auto more = weights;
  more.emplace_back("extra", at::zeros({1}));
  CHECK_THROWS_WITH(load_weights(model, more), Catch::Contains("no parameter 'extra'"));
  load_weights(model, weights);
  CHECK(at::equal(model.parameters()[5].tensor, other.parameters()[5].tensor));
  CHECK(model.prepared == 1);
}

TEST_CASE("in sequence, a layer's inputs are those that quantized layers before it make, and the model is left as it was") {
  const auto run = [](bool sequential, FakeModel& model, std::map<std::string, std::shared_ptr<FakeQuantizer>>& quantizers) {
    auto chosen = settings(0, {{{"match", "matrix"}, {"use", "calibrated"}}, {{"match", "embedding"}, {"use", "plain"}}});
    chosen.calibrate.sequential = sequential;
    return quantize_model(
        model, chosen,
        [&](const Json& entry) {
          return quantizers[entry["match"]] = std::make_shared<FakeQuantizer>(entry["use"] == "calibrated");
        },
        [] { return std::vector<at::Tensor>{random_tokens(FakeModel::kVocabulary, 2, 12, Random(1, "t"), at::kCPU)}; });
  };
  at::manual_seed(3);
  FakeModel model;
  std::vector<at::Tensor> before;
  for (const auto& parameter : model.parameters()) before.push_back(parameter.tensor.clone());
  std::map<std::string, std::shared_ptr<FakeQuantizer>> at_once, in_sequence;
  const auto first = run(false, model, at_once), second = run(true, model, in_sequence);
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], model.parameters()[i].tensor));
  REQUIRE(second.tensors.size() == first.tensors.size());
  // The embedding is quantized without calibration, so it comes first, and the layer's inputs are made with it.
  const auto embedding = decode(second.tensors[0].data);
  CHECK_FALSE(at::equal(embedding, before[0]));
  const auto tokens = random_tokens(FakeModel::kVocabulary, 2, 12, Random(1, "t"), at::kCPU).narrow(1, 0, 11);
  const auto x = embedding.index_select(0, tokens.reshape({-1}));
  CHECK(at::allclose(in_sequence.at("matrix")->hessians[0], x.t().mm(x), 1e-4, 1e-4));
  CHECK_FALSE(at::allclose(at_once.at("matrix")->hessians[0], x.t().mm(x), 1e-4, 1e-4));
  CHECK(in_sequence.at("matrix")->calls == at_once.at("matrix")->calls);
}
