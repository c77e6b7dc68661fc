#include "core/host/scaffold.h"

#include <algorithm>

#include "caddie/error.h"
#include "core/base/files.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

std::filesystem::path temporary_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "caddie_scaffold_XXXXXX").string();
  return mkdtemp(name.data());
}

}  // namespace

TEST_CASE("a scaffold has all files of a plugin, with every placeholder filled in") {
  const auto folder = temporary_folder();
  for (const char* kind : {"model", "optimizer", "quantizer", "compressor", "ttt"}) {
    const std::string name = std::string("my_") + kind;
    const Scaffold scaffold = write_scaffold(kind_from_name(kind), name, folder);
    CHECK(scaffold.folder == folder / name);
    std::vector<std::string> files = scaffold.files, expected{"CMakeLists.txt", "README.md",      "example.yaml", name + ".cpp",
                                                              name + ".h",      name + "_test.cpp", "plugin.cpp"};
    std::sort(files.begin(), files.end());
    std::sort(expected.begin(), expected.end());
    CHECK(files == expected);
    for (const std::string& file : files) {
      INFO(file);
      const std::string text = read_text(folder / name / file);
      CHECK(text.find('@') == std::string::npos);
      CHECK(text.find("NAME") == std::string::npos);
    }
    CHECK(read_text(folder / name / "plugin.cpp").find("\"" + name + "\"") != std::string::npos);
    CHECK(read_text(folder / name / "example.yaml").find("use: " + name) != std::string::npos);
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("a scaffold overwrites nothing and takes only names that a manifest can say") {
  const auto folder = temporary_folder();
  CHECK(write_scaffold(PluginKind::ttt, "mine", folder / "mine").folder == folder / "mine");
  CHECK_THROWS_AS(write_scaffold(PluginKind::ttt, "mine", folder), Error);
  for (const char* name : {"", "Mine", "2nd", "a-b", "../up", "a b"})
    CHECK_THROWS_AS(write_scaffold(PluginKind::ttt, name, folder), Error);
  CHECK_THROWS_AS(kind_from_name("optimiser"), Error);
  std::filesystem::remove_all(folder);
}
