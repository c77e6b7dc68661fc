#include "core/pipeline/cache.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "caddie/error.h"
#include "core/base/files.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::pipeline;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("caddie_cache_test_" + std::to_string(::getpid()));
  Folder() { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
};

Json write_something(const fs::path& folder) {
  write_atomic(folder / "weights.bin", std::string_view("content"));
  return {{"loss", 1.5}};
}

}  // namespace

TEST_CASE("an entry is computed once and found afterwards") {
  const Folder folder;
  StageCache cache(folder.path);
  const StageKey key{"train", {{"seed", 1}}};
  int computed = 0;
  const auto compute = [&](const fs::path& into) {
    ++computed;
    return write_something(into);
  };
  bool hit = true;
  CHECK(cache.get(key, false, compute, hit).outputs["loss"] == 1.5);
  CHECK_FALSE(hit);
  const CacheEntry entry = cache.get(key, false, compute, hit);
  CHECK(hit);
  CHECK(read_text(entry.folder / "weights.bin") == "content");
  CHECK(computed == 1);
  cache.get(key, true, compute, hit);
  CHECK(computed == 2);
  CHECK_FALSE(cache.find(StageKey{"train", {{"seed", 2}}}).has_value());
}

TEST_CASE("a damaged entry is a miss and is computed again") {
  const Folder folder;
  StageCache cache(folder.path);
  const StageKey key{"train", {{"seed", 1}}};
  bool hit = false;
  const fs::path where = cache.get(key, false, write_something, hit).folder;
  const int damage = GENERATE(range(0, 5));
  CAPTURE(damage);
  if (damage == 0) std::ofstream(where / "weights.bin") << "Content";  // a flipped bit
  if (damage == 1) fs::resize_file(where / "weights.bin", 3);
  if (damage == 2) fs::remove(where / "weights.bin");
  if (damage == 3) fs::resize_file(where / "entry.json", 20);  // torn
  if (damage == 4) fs::remove(where / "entry.json");
  CHECK_FALSE(cache.find(key).has_value());
  CHECK_FALSE(fs::exists(where));
  cache.get(key, false, write_something, hit);
  CHECK_FALSE(hit);
  CHECK(cache.find(key).has_value());
}

TEST_CASE("a stage that fails leaves nothing behind") {
  const Folder folder;
  StageCache cache(folder.path);
  const StageKey key{"train", {{"seed", 1}}};
  bool hit = false;
  const auto fail = [](const fs::path& into) -> Json {
    write_something(into);
    throw Error(ErrorKind::failed, "no");
  };
  CHECK_THROWS_AS(cache.get(key, false, fail, hit), Error);
  CHECK_FALSE(cache.find(key).has_value());
  int files = 0;
  for (const auto& item : fs::recursive_directory_iterator(folder.path / "train")) files += item.is_regular_file();
  CHECK(files == 0);
}
