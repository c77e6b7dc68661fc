// A frozen manifest is the manifest, whatever becomes of the files that it was made from.
#include "core/config/frozen.h"

#include "core/base/files.h"
#include "tests/unit/config/fixture.h"

using namespace caddie_test;

TEST_CASE("what is frozen loads as it was, after its file has changed") {
  const Folder folder;
  static const FakeSchemas schemas;
  const auto file = folder.write("base.yaml", kValid);
  const std::vector<std::string> overrides = {"seed=5"};
  const Manifest manifest = load_manifest(file, overrides, schemas);
  const auto frozen = folder.path / "frozen.json";
  write_json(frozen, freeze(manifest));
  folder.write("base.yaml", "caddie: 1\n");
  const Manifest again = load_manifest(frozen, {}, schemas);
  CHECK(again.resolved == manifest.resolved);
  CHECK(again.text == manifest.text);
  CHECK(again.overrides == manifest.overrides);
  CHECK(again.file == manifest.file);
  CHECK(again.origin("seed") == manifest.origin("seed"));
  CHECK_THROWS_WITH(load_manifest(frozen, overrides, schemas), Catch::Contains("takes no override"));

  Json damaged = freeze(manifest);
  damaged["resolved"]["seed"] = 6;
  write_json(frozen, damaged);
  CHECK_THROWS_WITH(load_manifest(frozen, {}, schemas), Catch::Contains("not what was frozen"));
  write_atomic(frozen, std::string_view("{\"frozen\": 1}"));
  CHECK_THROWS_AS(load_manifest(frozen, {}, schemas), Error);
}
