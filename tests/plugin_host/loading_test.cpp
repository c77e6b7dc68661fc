// Plugins that are right: found, opened once, opened only when needed, usable until the process ends.
#include <ATen/ops/ones.h>

#include <fstream>

#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/host/library.h"
#include "core/host/tag.h"
#include "tests/plugin_host/fixture.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::fixture;

namespace {

std::string answer(const Catalogue& catalogue, const std::string& name) {
  const auto compressor = catalogue.create_compressor({{"use", name}}, CompressorContext{nullptr});
  std::string text;
  for (const std::byte b : compressor->compress({})) text += static_cast<char>(b);
  return text;
}

bool mapped(const std::filesystem::path& file) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find(file.string()) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("two plugins in A-B-A order keep their own code") {
  const Catalogue catalogue({folder("good")});
  CHECK(answer(catalogue, "alpha") == "alpha");
  CHECK(answer(catalogue, "beta") == "beta");
  CHECK(answer(catalogue, "alpha") == "alpha");
  CHECK(catalogue.names(PluginKind::compressor) == std::vector<std::string>{"alpha", "beta"});
  CHECK(catalogue.names(PluginKind::model).empty());
  CHECK(catalogue.problems().empty());
}

TEST_CASE("only the plugin that is named like the component is opened") {
  TemporaryFolder temporary;
  for (const char* name : {"alpha", "beta"})
    std::filesystem::copy(library("good", name), temporary.path() / (std::string("libcaddie_") + name + ".so"));
  const Catalogue catalogue({temporary.path()});
  CHECK_FALSE(mapped(temporary.path()));
  REQUIRE(catalogue.find(PluginKind::compressor, "alpha"));
  CHECK(mapped(temporary.path() / "libcaddie_alpha.so"));
  CHECK_FALSE(mapped(temporary.path() / "libcaddie_beta.so"));
  CHECK_FALSE(catalogue.find(PluginKind::compressor, "gamma"));
  CHECK(mapped(temporary.path() / "libcaddie_beta.so"));
}

TEST_CASE("a file is one plugin, by whatever path it is reached") {
  TemporaryFolder temporary;
  const auto file = library("good", "alpha");
  std::filesystem::create_symlink(file, temporary.path() / "libcaddie_alpha.so");
  std::filesystem::create_symlink(folder("good"), temporary.path() / "again");
  const Catalogue catalogue({folder("good"), temporary.path(), temporary.path() / "again", folder("good")});
  CHECK(catalogue.problems().empty());
  CHECK(answer(catalogue, "alpha") == "alpha");
  CHECK(catalogue.provenance(PluginKind::compressor, "alpha").file == file.string());
  const Library& direct = open_library(file);
  const Library& linked = open_library(temporary.path() / "libcaddie_alpha.so");
  CHECK(&direct == &linked);
  CHECK(direct.file == file);
}

TEST_CASE("a relative path still works after a change of folder") {
  TemporaryFolder temporary;
  std::filesystem::copy(library("good", "beta"), temporary.path() / "libcaddie_beta.so");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(temporary.path());
  const Catalogue catalogue({"."});
  REQUIRE(catalogue.find(PluginKind::compressor, "beta"));
  std::filesystem::current_path(before);
  CHECK(answer(catalogue, "beta") == "beta");
  CHECK(catalogue.provenance(PluginKind::compressor, "beta").file ==
        (temporary.path() / "libcaddie_beta.so").string());
}

TEST_CASE("provenance names file, hash, versions and tag") {
  const Catalogue catalogue({folder("good")});
  const Provenance from = catalogue.provenance(PluginKind::compressor, "beta");
  CHECK(from.plugin == "beta");
  CHECK(from.file == library("good", "beta").string());
  CHECK(from.sha256 == sha256_file(library("good", "beta")));
  CHECK(from.version == "1.2");
  CHECK(from.behaviour_version == 4);
  CHECK(from.abi == host_abi_no_torch());
  CHECK(to_json(from)["sha256"] == from.sha256);
}

TEST_CASE("search folders: those given, then the variable's, then the program's") {
  setenv("CADDIE_PLUGIN_PATH", "/first:/second::", 1);
  const auto folders = Catalogue::search_folders({"given"});
  unsetenv("CADDIE_PLUGIN_PATH");
  REQUIRE(folders.size() == 4);
  CHECK(folders[0] == "given");
  CHECK(folders[1] == "/first");
  CHECK(folders[2] == "/second");
  CHECK(folders[3] == std::filesystem::path(CADDIE_BINARY_DIR) / "lib" / "caddie");
}

TEST_CASE("a plugin without LibTorch carries torch_none, one with it the host's LibTorch") {
  CHECK(read_abi_tag(library("good", "alpha")) == host_abi_no_torch());
  CHECK(read_abi_tag(library("autograd", "cube")) == host_abi());
}

TEST_CASE("an autograd node of a plugin works after its catalogue is gone, and until the process ends") {
  static at::Tensor until_the_end;  // destroyed after main: its node's code must still be there
  at::Tensor parameter, loss;
  {
    const Catalogue catalogue({folder("autograd")});
    const auto model = catalogue.create_model(
        {{"use", "cube"}}, ModelContext{nullptr, at::kCPU, Precision::float32, 16, 8});
    parameter = model->parameters()[0].tensor;
    loss = model->loss({}, {});
    until_the_end = model->loss({}, {});
  }
  loss.backward();
  // d/dx of (2x)^3 at 1 is 24.
  CHECK(parameter.grad().equal(at::ones({3}).mul(24)));
  REQUIRE(until_the_end.grad_fn());
}
