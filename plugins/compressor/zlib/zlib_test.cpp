// The payload is a stream that the format's own tool decodes; bombs, damage and surplus are refused.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "caddie/byte_shuffle.h"
#include "caddie/error.h"
#include "core/base/files.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

std::shared_ptr<Compressor> make(const Json& options = Json::object()) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  Json section = options;
  section["use"] = "zlib";
  return catalogue.create_compressor(section, CompressorContext{nullptr});
}

std::vector<std::byte> codes(std::size_t size) {
  Random random(1, "codes");
  std::vector<std::byte> data;
  for (std::size_t i = 0; i < size; ++i)
    data.push_back(static_cast<std::byte>(std::clamp(static_cast<int>(std::nearbyint(random.normal() * 4.9)), -15, 15)));
  return data;
}

Blob blob(const std::vector<std::byte>& data) {
  return {{"w.codes", ElementType::int8, 1, static_cast<std::int64_t>(data.size())}, data};
}

std::vector<std::byte> compressed(Compressor& compressor, const std::vector<std::byte>& data) {
  const Blob one = blob(data);
  return compressor.compress(std::span(&one, 1));
}

// The decoded bytes, or the error's text.
std::string fault(std::span<const std::byte> payload, std::size_t size, const Json& options = Json::object()) {
  const BlobShape shape{"w.codes", ElementType::int8, 1, static_cast<std::int64_t>(size)};
  std::vector<std::byte> result(size);
  const std::span<std::byte> outputs[] = {result};
  try {
    make(options)->decompress(payload, std::span(&shape, 1), outputs);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::data);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("the payload is a standard stream of the shuffled blobs") {
  const auto data = codes(30001);
  const std::string folder = (std::filesystem::temp_directory_path() / concat("caddie_zlib_", ::getpid())).string();
  std::filesystem::create_directories(folder);
  for (const Json& options : {Json::object(), Json{{"shuffle", 4}}, Json{{"level", 1}}}) {
    const auto payload = compressed(*make(options), data);
    CHECK(payload.size() < 30001 * 3 / 4);
    CHECK(fault(payload, data.size(), options).empty());
    if (std::system(R"x(python3 -c "import zlib" > /dev/null 2>&1)x") != 0) {
      WARN("skipped: the tool that decodes zlib is not installed");
      continue;
    }
    write_atomic(folder + "/a", std::span<const std::byte>(payload));
    REQUIRE(std::system((R"x(python3 -c "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))" < )x" + folder + "/a > " + folder + "/b").c_str()) == 0);
    const auto stride = static_cast<std::size_t>(options.value("shuffle", 0));
    CHECK((read_bytes(folder + "/b") == byte_shuffle(data, stride)));
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("a bomb is refused when the declared size is full") {
  // 64 MiB of zeros in a few KB, declared as 1000 bytes, and as more than there is.
  const auto payload = compressed(*make(), std::vector<std::byte>(std::size_t{1} << 26));
  CHECK(payload.size() < 100000);
  CHECK_THAT(fault(payload, 1000), Catch::Contains("declares"));
  CHECK_THAT(fault(payload, (std::size_t{1} << 26) + 1), Catch::Contains("bytes"));
}

TEST_CASE("truncation, surplus and damage are errors about data") {
  const auto data = codes(4000);
  const auto payload = compressed(*make(), data);
  for (std::size_t size = 0; size < payload.size(); size += 13) CHECK_FALSE(fault(std::span(payload).first(size), 4000).empty());
  auto longer = payload;
  longer.push_back(std::byte{0});
  CHECK_THAT(fault(longer, 4000), Catch::Contains("follow"));
  for (std::size_t i = 0; i < payload.size(); i += 7) {
    auto damaged = payload;
    damaged[i] ^= std::byte{16};
    fault(damaged, 4000);  // checks the kind
  }
}
