// Round trips of many kinds of codes, the sizes that the models are for, machine independence, hostile streams.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "caddie/error.h"
#include "core/base/hash.h"
#include "core/host/catalogue.h"
#include "segments.h"
#include "tests/support/catch.h"
#include "tests/support/coded_blobs.h"

using namespace caddie;
using namespace caddie::test;

namespace {

std::shared_ptr<Compressor> make(const Json& options = Json::object(), int threads = 1) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  static Threads services[9] = {Threads(0), Threads(1), Threads(2), Threads(3), Threads(4),
                                Threads(5), Threads(6), Threads(7), Threads(8)};
  Json section = options;
  section["use"] = "cm";
  return catalogue.create_compressor(section, CompressorContext{&services[threads]});
}

}  // namespace

TEST_CASE("codes of any size come back, the extremes too") {
  const auto compressor = make();
  for (const double deviation : {0.1, 1.0, 4.5, 40.0, 300.0}) {
    const auto codes = normal_codes(37, 53, deviation, 0.5, 127, "any");
    INFO("deviation " << deviation);
    CHECK((back(*compressor, compressed(*compressor, blob(37, 53, codes)), blob(37, 53, codes)) == codes));
  }
  Bytes extremes;
  for (int i = 0; i < 4000; ++i) extremes.push_back(static_cast<std::byte>(i % 7 == 0 ? -128 : i % 3 == 0 ? 127 : 0));
  CHECK((back(*compressor, compressed(*compressor, blob(40, 100, extremes)), blob(40, 100, extremes)) ==
         extremes));
}

TEST_CASE("codes without structure cost their entropy, and structure is used") {
  const auto compressor = make();
  const auto size = [&](const Bytes& codes, std::int64_t columns) {
    const auto one = blob(static_cast<std::int64_t>(codes.size()) / columns, columns, codes);
    return static_cast<double>(compressor->compress(std::span(&one, 1)).size()) / entropy_bytes(codes);
  };
  CHECK(size(normal_codes(512, 512, 4.5, 0, 15, "flat"), 512) < 1.005);
  CHECK(size(normal_codes(512, 512, 4.5, 0.5, 127, "columns"), 512) < 0.965);
  // Rows that are nearly those before them.
  auto rows = normal_codes(64, 512, 40, 0, 127, "copies");
  Random random(9, "noise");
  for (std::size_t i = 512; i < rows.size(); ++i)
    rows[i] = static_cast<std::byte>(std::clamp(static_cast<int>(static_cast<signed char>(rows[i - 512])) +
                                                    static_cast<int>(random.below(3)) - 1, -127, 127));
  CHECK(size(rows, 512) < 0.55);
}

TEST_CASE("numbers of several bytes cost less than their bytes one by one") {
  Random random(2, "steps");
  std::vector<float> values;
  for (int i = 0; i < 6000; ++i) values.push_back(static_cast<float>(0.8 + 0.05 * random.normal()));
  Bytes bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  const auto one = blob(6000, 1, bytes, ElementType::float32);
  const auto compressor = make();
  const auto payload = compressor->compress(std::span(&one, 1));
  CHECK(static_cast<double>(payload.size()) < 0.8 * static_cast<double>(bytes.size()));
  CHECK((back(*compressor, payload, one) == bytes));
}

TEST_CASE("the stream is the same on every machine and for any number of threads") {
  const auto codes = normal_codes(90, 70, 6, 0.3, 31, "fixed");
  const auto steps = normal_codes(90, 2, 30, 0, 127, "fixed steps");
  const std::vector<Blob> blobs{blob(90, 70, codes), blob(70, 90, codes), blob(90, 1, steps, ElementType::float16)};
  const Json small = {{"segment_bytes", 1000}};
  const auto payload = make(small)->compress(blobs);
  CHECK((payload == make(small, 8)->compress(blobs)));
  // Change the version of the component's behaviour with this number.
  CHECK(sha256(std::span<const std::byte>(payload)).substr(0, 16) == "1d7a1d7abfe764cf");
}

TEST_CASE("a short stream for a large matrix is an error at once, and damage does not stay unseen") {
  const auto codes = normal_codes(60, 50, 4, 0, 15, "small");
  const auto compressor = make();
  const auto one = blob(60, 50, codes);
  const auto payload = compressor->compress(std::span(&one, 1));
  const BlobShape large{"w.codes", ElementType::int8, 1 << 20, 1 << 10};
  // The output is never touched beyond the first rows: a mapping of that size need not exist in memory.
  const auto room = std::make_unique_for_overwrite<std::byte[]>(large.bytes());
  const std::span<std::byte> outputs[] = {{room.get(), large.bytes()}};
  CHECK_THROWS_WITH(compressor->decompress(payload, std::span(&large, 1), outputs), Catch::Contains("ends early"));
  for (std::size_t cut = 0; cut < payload.size(); cut += 97)
    CHECK_THROWS_AS(back(*compressor, Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(cut)), one), Error);
}
