// A bundle is refused whole, with an error that names the place, and checks report what they lack.
#include "core/parity/bundle.h"

#include <ATen/ops/zeros.h>

#include <filesystem>
#include <functional>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/parity/check.h"
#include "core/parity/parity.h"
#include "core/parity/setup.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::parity;
namespace fs = std::filesystem;

namespace {

class Quiet final : public Services {
 public:
  void log(LogLevel, std::string_view) override {}
  bool cancelled() const override { return false; }
  int threads() const override { return 1; }
};

Json good() {
  return {{"format", "golden"},
          {"version", 1},
          {"name", "made"},
          {"config", Json::object()},
          {"tokenizers", Json::object()},
          {"parameters", Json::array({{{"name", "p"}, {"shape", {2, 3}}, {"role", "matrix"}}})},
          {"checks", Json::array({{{"id", "momentum"},
                                   {"kind", "momentum"},
                                   {"settings", {{"first", 0.5}, {"last", 0.9}, {"over", 4}, {"steps", {2}}}},
                                   {"inputs", {{"parameters", "initial/"}}},
                                   {"expect", {{"momentum_0", {{"value", 0.7}, {"tolerance", {{"max", 1e-9}}}}}}}}})}};
}

// Writes a bundle, changed by `change`.
void write(const fs::path& folder, const std::function<void(Json&)>& change = {}) {
  Json json = good();
  if (change) change(json);
  write_json(folder / "bundle.json", json);
  write_safetensors(folder / "tensors.safetensors", {{"initial/p", at::zeros({2, 3})}, {"sample", at::zeros({2})}});
}

Error refusal(const fs::path& folder) {
  try {
    const Bundle bundle(folder, folder);
  } catch (const Error& error) {
    return error;
  }
  FAIL("the bundle was taken");
  throw 0;
}

Report report_of(const fs::path& folder, const std::vector<std::string>& only = {}) {
  const Bundle bundle(folder, folder);
  const Catalogue catalogue({});
  Quiet services;
  return run_checks(bundle, catalogue, services, only);
}

}  // namespace

TEST_CASE("a sound bundle is read") {
  const TemporaryFolder folder;
  write(folder.path());
  const Bundle bundle(folder.path(), folder.path());
  CHECK(bundle.name() == "made");
  CHECK(bundle.checks().size() == 1);
  CHECK(bundle.parameters_of("initial/").at(0).first == "p");
  const auto report = report_of(folder.path());
  CHECK(report.passed());
  CHECK(report.to_json()["passed"] == 1);
}

TEST_CASE("a broken bundle is an error of its own") {
  const TemporaryFolder folder;
  CHECK(refusal(folder.path() / "none").kind() == ErrorKind::data);
  CHECK(refusal(folder.path()).kind() == ErrorKind::data);  // an empty folder
  const Json sample = {{"sample", "sample"},
                       {"shape", {2, 2}},
                       {"step", 2},
                       {"count", 2},
                       {"sum", 0},
                       {"sum_squares", 0},
                       {"tolerance", {{"exact", true}}}};
  const std::vector<std::pair<std::string, std::function<void(Json&)>>> cases = {
      {"format", [](Json& j) { j["format"] = "gold"; }},
      {"version", [](Json& j) { j["version"] = 2; }},
      {"checks", [](Json& j) { j.erase("checks"); }},
      {"lacks an id", [](Json& j) { j["checks"][0].erase("kind"); }},
      {"id 'momentum'", [](Json& j) { j["checks"].push_back(j["checks"][0]); }},
      {"expects nothing", [](Json& j) { j["checks"][0]["expect"] = Json::object(); }},
      {"no tensor of it", [](Json& j) { j["checks"][0]["inputs"]["x"] = "missing"; }},
      {"no tensor 'start/p'", [](Json& j) { j["checks"][0]["inputs"]["parameters"] = "start/"; }},
      {"parameter's shape", [](Json& j) { j["parameters"][0]["shape"] = {3, 2}; }},
      {"no tolerance", [](Json& j) { j["checks"][0]["expect"]["momentum_0"].erase("tolerance"); }},
      {"lacks", [](Json& j) { j["checks"][0]["expect"]["t"] = {{"tensor", "t"}, {"tolerance", {{"exact", true}}}}; }},
      {"do not fit",
       [&](Json& j) { j["checks"][0]["expect"]["s"] = sample, j["checks"][0]["expect"]["s"]["count"] = 3; }},
      {"sums", [&](Json& j) { j["checks"][0]["expect"]["s"] = sample, j["checks"][0]["expect"]["s"].erase("sum"); }},
  };
  for (const auto& [words, change] : cases) {
    write(folder.path(), change);
    const Error error = refusal(folder.path());
    INFO(error.what());
    CHECK(error.kind() == ErrorKind::data);
    CHECK(std::string(error.what()).find(words) != std::string::npos);
  }
  write(folder.path());
  write_atomic(folder.path() / "bundle.json", std::string_view("{\"format\": "));
  CHECK(refusal(folder.path()).kind() == ErrorKind::data);
}

TEST_CASE("a tokenizer must be there and be the right one") {
  const TemporaryFolder folder;
  write(folder.path(), [](Json& j) {
    j["tokenizers"]["t"] = {{"vocab", 3}, {"sha256", std::string(64, '0')}, {"in_bundle", true}};
    j["checks"][0]["settings"]["tokenizer"] = "t";
  });
  CHECK_THROWS_WITH(report_of(folder.path()), Catch::Contains("is missing"));
  write_atomic(folder.path() / "t.model", std::string_view("x"));
  CHECK_THROWS_WITH(report_of(folder.path()), Catch::Contains("is not the tokenizer"));
}

TEST_CASE("what is unknown or missing is told, not passed over") {
  const TemporaryFolder folder;
  write(folder.path(), [](Json& j) { j["checks"][0]["kind"] = "telepathy"; });
  auto report = report_of(folder.path());
  CHECK(report.count(Status::not_covered) == 1);
  CHECK_FALSE(report.passed());
  CHECK(report.to_json()["checks"][0]["status"] == "not_covered");

  write(folder.path(),
        [](Json& j) { j["checks"][0]["kind"] = "telepathy", j["checks"][0]["settings"]["optional"] = true; });
  CHECK(report_of(folder.path()).passed());

  write(folder.path(),
        [](Json& j) { j["checks"][0]["expect"]["momentum_1"] = {{"value", 1}, {"tolerance", {{"max", 1}}}}; });
  report = report_of(folder.path());
  CHECK(report.checks[0].status == Status::failed);
  CHECK(report.checks[0].output == "momentum_1");
  CHECK(report.checks[0].detail == "was not computed");

  write(folder.path(), [](Json& j) { j["checks"][0]["settings"].erase("last"); });
  report = report_of(folder.path());
  CHECK(report.checks[0].status == Status::failed);
  CHECK(report.checks[0].detail.find("lacks the setting 'last'") != std::string::npos);

  write(folder.path(), [](Json& j) { j["checks"][0]["expect"]["momentum_0"]["value"] = 0.7001; });
  CHECK_FALSE(report_of(folder.path()).passed());

  write(folder.path());
  CHECK(report_of(folder.path(), {"momentum"}).checks.size() == 1);
  CHECK_THROWS_AS(report_of(folder.path(), {"nothing"}), Error);
}
