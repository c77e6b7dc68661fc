// Who may include whom. One direction: tools/cli -> registry -> core/pipeline -> {train, eval, artifact, data, config, host} ->
// {comm, ops, base} -> sdk; plugins -> sdk. Siblings stay apart but for the pairs below.
#include <fstream>
#include <map>
#include <set>

#include "tests/support/catch.h"
#include "tests/unit/policy/sources.h"

using namespace caddie::policy;

namespace {

using Rooms = std::set<std::string>;

// The rooms below the stages, and what each room may include beside itself and the SDK.
const std::map<std::string, Rooms>& allowed() {
  static const Rooms low{"core/base", "core/ops", "core/comm"};
  static const auto with = [](Rooms more) {
    more.insert(low.begin(), low.end());
    return more;
  };
  static const std::map<std::string, Rooms> table{
      {"core/sdk", {}},
      {"core/base", {}},
      {"core/ops", {"core/base"}},
      {"core/comm", {"core/base"}},
      {"core/config", with({})},
      {"core/host", with({"core/config"})},  // the catalogue is config's ComponentSchemas
      {"core/data", with({})},
      {"core/artifact", with({})},
      {"core/train", with({})},
      {"core/eval", with({})},
      {"core/pipeline", with({"core/config", "core/host", "core/data", "core/artifact", "core/train", "core/eval"})},
      // Beside the pipeline: it calls what a run calls, with numbers of its own.
      {"core/parity", with({"core/config", "core/host", "core/data", "core/artifact", "core/train", "core/eval",
                            "core/pipeline"})},
      {"core/bench", with({"core/config", "core/host", "core/data", "core/artifact", "core/train", "core/eval",
                           "core/pipeline"})},
  };
  return table;
}

// The room that an include line reaches; empty for headers of the system and of other libraries.
std::string included_room(const Include& include) {
  if (!include.quoted) return {};
  if (starts(include.target, "caddie/")) return "core/sdk";
  for (const char* top : {"core/", "plugins/", "registry/", "tests/", "tools/"})
    if (starts(include.target, top)) return room_of(include.target);
  return {};
}

// Whether `file` may include `room`.
bool may_include(const std::string& file, const std::string& room) {
  const std::string own = room_of(file);
  if (room == own || room == "core/sdk" || is_test(file) || own == "tools/cli" || own == "tools/bench") return room != "";
  if (starts(own, "plugins/")) return false;
  if (own == "registry") return starts(room, "core/");
  const auto found = allowed().find(own);
  return found != allowed().end() && found->second.contains(room);
}

bool is_standard(const std::string& header) {
  // Standard headers have neither a folder nor an extension.
  return header.find_first_of("/.") == std::string::npos;
}

}  // namespace

TEST_CASE("the tree is found") {
  CHECK(source_files().size() > 50);
  CHECK(room_of("core/base/hash.h") == "core/base");
  CHECK(room_of("core/sdk/include/caddie/error.h") == "core/sdk");
  CHECK(room_of("plugins/optimizer/muon/muon.h") == "plugins/optimizer/muon");
  CHECK_FALSE(may_include("core/base/hash.cpp", "core/host"));
  CHECK_FALSE(may_include("plugins/optimizer/muon/muon.cpp", "core/base"));
  CHECK_FALSE(may_include("plugins/optimizer/muon/muon.cpp", "plugins/optimizer/adamw"));
  CHECK_FALSE(may_include("registry/record.cpp", "plugins/optimizer/muon"));
  CHECK(may_include("registry/record.cpp", "core/pipeline"));
  CHECK(may_include("plugins/optimizer/muon/muon_test.cpp", "core/host"));
}

TEST_CASE("every room of core is in the table") {
  for (const auto& file : source_files())
    if (starts(file.path, "core/")) {
      INFO(file.path);
      CHECK(allowed().contains(room_of(file.path)));
    }
}

TEST_CASE("rooms include only what lies below them") {
  for (const auto& file : source_files())
    for (const auto& include : includes_of(file)) {
      const std::string room = included_room(include);
      if (room.empty()) continue;
      INFO(file.path << " includes " << include.target);
      CHECK(may_include(file.path, room));
    }
}

TEST_CASE("the SDK's headers include the standard library, each other and at::Tensor") {
  for (const auto& file : source_files()) {
    if (!starts(file.path, "core/sdk/include/")) continue;
    for (const auto& include : includes_of(file)) {
      INFO(file.path << " includes " << include.target);
      CHECK((include.quoted ? starts(include.target, "caddie/")
                            : is_standard(include.target) || include.target == "ATen/core/Tensor.h"));
    }
  }
}

TEST_CASE("a plugin's quoted includes are the SDK's headers and files of its own folder") {
  for (const auto& file : source_files()) {
    if (!starts(file.path, "plugins/") || is_test(file.path)) continue;
    for (const auto& include : includes_of(file)) {
      if (!include.quoted || starts(include.target, "caddie/")) continue;
      INFO(file.path << " includes " << include.target);
      CHECK(include.target.find("..") == std::string::npos);
      CHECK(std::filesystem::exists(std::filesystem::path(CADDIE_SOURCE_DIR) / room_of(file.path) / include.target));
    }
  }
}

TEST_CASE("one room a library: yaml-cpp in config, Boost.DLL in host, CLI11 in the program, SQLite in the registry") {
  const std::map<std::string, std::string> homes{
      {"yaml-cpp/", "core/config"}, {"boost/dll", "core/host"}, {"CLI/", "tools/cli"}, {"sentencepiece", "core/data"},
      {"sqlite3", "registry"}, {"boost/math", "registry"}};
  for (const auto& file : source_files())
    for (const auto& include : includes_of(file))
      for (const auto& [library, home] : homes) {
        if (!starts(include.target, library) || is_test(file.path)) continue;
        INFO(file.path << " includes " << include.target);
        CHECK(room_of(file.path) == home);
      }
}

TEST_CASE("headers that cost seconds or break Catch are not included") {
  for (const auto& file : source_files())
    for (const auto& include : includes_of(file)) {
      INFO(file.path << " includes " << include.target);
      // Each of them pulls in all of LibTorch: 10 to 20 s and a gigabyte a file.
      CHECK(include.target != "torch/torch.h");
      CHECK(include.target != "torch/all.h");
      CHECK(include.target != "torch/extension.h");
      CHECK(include.target != "ATen/ATen.h");
      CHECK(include.target != "ATen/Functions.h");
      // LibTorch's CHECK wins silently over Catch's; tests/support/catch.h puts them in order.
      if (file.path != "tests/support/catch.h") CHECK_FALSE(starts(include.target, "catch2/"));
    }
}

TEST_CASE("the source that a submission ships includes nothing that stays at home") {
  std::set<std::string> shipped;
  std::ifstream list(std::filesystem::path(CADDIE_BINARY_DIR) / "share/caddie/source.list");
  for (std::string line; std::getline(list, line);) shipped.insert(line);
  CHECK(shipped.contains("core/train/trainer.cpp"));
  CHECK(shipped.contains("tools/cli/run.cpp"));
  CHECK(shipped.contains("plugins/optimizer/muon/muon.cpp"));
  for (const auto& file : source_files()) {
    CHECK_FALSE((starts(file.path, "registry/") && shipped.contains(file.path)));
    if (!shipped.contains(file.path)) continue;
    for (const auto& include : includes_of(file)) {
      if (included_room(include).empty()) continue;
      const bool sdk = starts(include.target, "caddie/");
      INFO(file.path << " includes " << include.target);
      CHECK(shipped.contains(sdk ? "core/sdk/include/" + include.target : include.target));
    }
  }
}
