// The program's numbers against golden bundles: the small one of this folder always, the others where CADDIE_GOLDEN
// names their folder. And the other way round: with a wrong value in every check of the bundle, every check fails.
#include <ATen/Parallel.h>
#include <ATen/ops/full_like.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "core/base/files.h"
#include "core/base/safetensors.h"
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
  int threads() const override { return at::get_num_threads(); }
};

Report report_of(const fs::path& folder, const fs::path& tokenizers = {}) {
  const Bundle bundle(folder, tokenizers);
  const Catalogue catalogue({fs::path(CADDIE_PLUGIN_DIR)});
  Quiet services;
  return run_checks(bundle, catalogue, services);
}

void require_all_passed(const Report& report) {
  for (const auto& check : report.checks) {
    INFO(text_of(check));
    CHECK((check.status == Status::passed || (check.status == Status::not_covered && check.optional)));
  }
  CHECK(report.passed());
}

const fs::path kMini = fs::path(CADDIE_SOURCE_DIR) / "tests" / "golden" / "mini";

double largest_tolerance(const Json& expected) {
  double largest = 0;
  for (const auto& [key, value] : expected["tolerance"].items())
    if (value.is_number()) largest = std::max(largest, value.get<double>());
  return largest;
}

bool is_empty(const Json& expected, const std::map<std::string, at::Tensor>& tensors) {
  return expected.contains("tensor") && tensors.at(expected["tensor"]).numel() == 0;
}

// Changes one expected output of every check: the one in the middle, by more than its tolerance allows.
void write_mutated(const fs::path& from, const fs::path& to) {
  fs::copy(from, to, fs::copy_options::recursive);
  Json bundle = read_json(from / "bundle.json");
  std::map<std::string, at::Tensor> tensors;
  for (auto& [name, tensor] : read_safetensors(from / "tensors.safetensors")) tensors.emplace(name, tensor);
  for (Json& check : bundle["checks"]) {
    auto output = check["expect"].begin();
    std::advance(output, static_cast<std::ptrdiff_t>(check["expect"].size() / 2));
    while (is_empty(*output, tensors)) --output;  // the first of no check is
    Json& expected = output.value();
    if (expected.contains("value")) {
      Json& value = expected["value"];
      if (value.is_number())
        value = value.get<double>() + 2 * largest_tolerance(expected) + 1e-3;
      else
        value = "something else";
      continue;
    }
    at::Tensor& tensor = tensors.at(expected[expected.contains("sample") ? "sample" : "tensor"]);
    if (tensor.is_floating_point() && expected["tolerance"].contains("max")) {
      auto wide = tensor.to(at::kDouble).flatten();
      wide[wide.numel() / 2] +=
          2 * largest_tolerance(expected) + 1e-3 * std::abs(wide[wide.numel() / 2].item<double>());
      tensor = wide.reshape(tensor.sizes()).to(tensor.scalar_type());
    } else if (expected["tolerance"].contains("differing_fraction")) {
      tensor = tensor.add(1);
    } else {
      auto flat = tensor.clone().flatten();
      flat[flat.numel() / 2] = flat[flat.numel() / 2].item<double>() + 1;
      tensor = flat.reshape(tensor.sizes());
    }
  }
  write_json(to / "bundle.json", bundle);
  fs::permissions(to / "tensors.safetensors", fs::perms::owner_write, fs::perm_options::add);
  write_safetensors(to / "tensors.safetensors", NamedTensors(tensors.begin(), tensors.end()));
}

}  // namespace

TEST_CASE("the small bundle passes") {
  const Report report = report_of(kMini);
  require_all_passed(report);
  // Every kind that is known is exercised by it.
  for (const auto& kind : check_kinds()) {
    INFO(kind);
    CHECK(
        std::any_of(report.checks.begin(), report.checks.end(), [&](const auto& check) { return check.kind == kind; }));
  }
}

TEST_CASE("a wrong expected value fails its check") {
  const TemporaryFolder folder;
  write_mutated(kMini, folder.path() / "mutated");
  for (const auto& check : report_of(folder.path() / "mutated").checks) {
    INFO(text_of(check));
    CHECK(check.status == Status::failed);
  }
}

TEST_CASE("the bundles in CADDIE_GOLDEN pass") {
  const char* root = std::getenv("CADDIE_GOLDEN");
  if (root == nullptr || *root == 0) {
    SKIP_TEST("CADDIE_GOLDEN does not name a folder of golden bundles");
  }
  int bundles = 0;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (!fs::exists(entry.path() / "bundle.json")) continue;
    ++bundles;
    INFO(entry.path().string());
    require_all_passed(report_of(entry.path(), fs::path(root) / ".." / "data" / "tokenizers"));
  }
  CHECK(bundles > 0);
}
