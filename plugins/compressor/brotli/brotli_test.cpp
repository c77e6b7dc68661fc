// Through the catalogue, as `run` creates it.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "caddie/byte_shuffle.h"
#include "caddie/compressor.h"
#include "caddie/error.h"
#include "core/base/files.h"
#include "core/host/catalogue.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

std::shared_ptr<Compressor> make(const Json& options = Json::object()) {
  static const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  Json section = options;
  section["use"] = "brotli";
  return catalogue.create_compressor(section, CompressorContext{nullptr});
}

// Codes of about 4 bits' entropy, in blobs of odd sizes.
std::vector<std::vector<std::byte>> codes(std::size_t size) {
  Random random(11, "codes");
  std::vector<std::vector<std::byte>> blobs(3);
  for (std::size_t i = 0; i < size; ++i) {
    const auto code = static_cast<int>(std::lround(random.normal() * 4));
    blobs[i % 3 == 0 ? 0 : 2].push_back(static_cast<std::byte>(std::clamp(code, -15, 15)));
  }
  return blobs;
}

std::vector<Blob> as_blobs(const std::vector<std::vector<std::byte>>& data) {
  std::vector<Blob> blobs;
  for (const auto& bytes : data)
    blobs.push_back({{"w.codes", ElementType::int8, 1, static_cast<std::int64_t>(bytes.size())}, bytes});
  return blobs;
}

std::vector<std::vector<std::byte>> decompress(Compressor& compressor, std::span<const std::byte> payload,
                                               const std::vector<Blob>& blobs) {
  std::vector<BlobShape> shapes;
  std::vector<std::vector<std::byte>> results;
  std::vector<std::span<std::byte>> outputs;
  for (const auto& blob : blobs) {
    shapes.push_back(blob.shape);
    results.emplace_back(blob.data.size());
  }
  for (auto& result : results) outputs.emplace_back(result);
  compressor.decompress(payload, shapes, outputs);
  return results;
}

}  // namespace

TEST_CASE("blobs come back, with every stride and at every quality") {
  const auto data = codes(30001);
  const auto blobs = as_blobs(data);
  for (const int shuffle : {0, 1, 2, 4, 5})
    for (const int quality : {0, 5, 11}) {
      INFO("shuffle " << shuffle << ", quality " << quality);
      const auto compressor = make({{"shuffle", shuffle}, {"quality", quality}, {"window", 18}});
      const auto payload = compressor->compress(blobs);
      CHECK(payload.size() < 30001 * 3 / 4);
      CHECK((payload == compressor->compress(blobs)));
      CHECK((decompress(*compressor, payload, blobs) == data));
    }
  CHECK(decompress(*make(), make()->compress({}), {}).empty());
}

TEST_CASE("parts of which each finds something else come back: noise, words of brotli's own dictionary, repetitions") {
  // A decoder takes a distance beyond the window, or beyond the bytes so far, for a word of the dictionary: parts that
  // disagreed about either would be read as other bytes, or as damage.
  static const char* const kWords[] = {"information ", "the ", "of ", "government ", "different ", "development ", "and ",
                                       "university ", "following ", "in ", "important ", "available "};
  Random random(5, "words");
  std::vector<std::byte> noise, words, repeats;
  while (noise.size() < 30'000) noise.push_back(static_cast<std::byte>(random.below(256)));
  while (words.size() < 30'000) {
    for (const char* c = kWords[random.below(std::size(kWords))]; *c != 0; ++c) words.push_back(static_cast<std::byte>(*c));
    if (random.below(6) == 0) words.push_back(static_cast<std::byte>(random.below(256)));
  }
  while (repeats.size() < 30'000) {
    const std::size_t from = random.below(20'000), length = 20 + random.below(200);
    repeats.insert(repeats.end(), noise.begin() + static_cast<std::ptrdiff_t>(from),
                   noise.begin() + static_cast<std::ptrdiff_t>(from + length));
  }
  for (const auto& order : {std::vector{&noise, &words, &repeats}, std::vector{&words, &repeats, &noise, &words, &words},
                            std::vector{&repeats, &words, &noise, &repeats, &words, &noise}}) {
    std::vector<std::vector<std::byte>> data(1);
    for (const auto* part : order) data[0].insert(data[0].end(), part->begin(), part->end());
    const auto blobs = as_blobs(data);
    for (const int quality : {5, 11})
      for (const int part : {9'000, 31'000})
        for (const int window : {12, 22}) {
          INFO(order.size() << " pieces, quality " << quality << ", part " << part << ", window " << window);
          const auto compressor = make({{"quality", quality}, {"part", part}, {"window", window}, {"shuffle", 1}});
          CHECK((decompress(*compressor, compressor->compress(blobs), blobs) == data));
        }
  }
}

TEST_CASE("the payload is a standard brotli stream of the shuffled blobs") {
  if (std::system("command -v brotli > /dev/null 2>&1") != 0) {
    SKIP_TEST("the program `brotli` is not installed");
  }
  const auto data = codes(5002);
  const auto folder = std::filesystem::temp_directory_path() / concat("caddie_brotli_", ::getpid());
  std::filesystem::create_directories(folder);
  write_atomic(folder / "a.br", std::span<const std::byte>(make({{"quality", 5}})->compress(as_blobs(data))));
  REQUIRE(std::system(concat("brotli -d -c ", folder.string(), "/a.br > ", folder.string(), "/a").c_str()) == 0);
  std::vector<std::byte> raw;
  for (const auto& blob : data) raw.insert(raw.end(), blob.begin(), blob.end());
  CHECK((read_bytes(folder / "a") == byte_shuffle(raw, 4)));
  std::filesystem::remove_all(folder);
}

TEST_CASE("damage, truncation, surplus and wrong sizes are errors about data") {
  const auto data = codes(4000);
  const auto blobs = as_blobs(data);
  const auto compressor = make({{"quality", 5}});
  const auto payload = compressor->compress(blobs);
  const auto kind = [&](std::span<const std::byte> bytes, const std::vector<Blob>& shapes) {
    try {
      decompress(*compressor, bytes, shapes);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::failed;
  };
  for (std::size_t size = 0; size < payload.size(); size += 13)
    CHECK(kind(std::span(payload).first(size), blobs) == ErrorKind::data);
  auto longer = payload;
  longer.push_back(std::byte{0});
  CHECK(kind(longer, blobs) == ErrorKind::data);
  auto shorter_data = data;
  shorter_data[0].resize(shorter_data[0].size() - 8);
  CHECK(kind(payload, as_blobs(shorter_data)) == ErrorKind::data);
  auto longer_data = data;
  longer_data[0].resize(longer_data[0].size() + 8);
  CHECK(kind(payload, as_blobs(longer_data)) == ErrorKind::data);
  // A flipped bit either breaks the stream or gives other bytes: it never writes elsewhere.
  for (std::size_t i = 0; i < payload.size(); i += 7) {
    auto damaged = payload;
    damaged[i] ^= std::byte{16};
    try {
      const auto other = decompress(*compressor, damaged, blobs);
      CHECK((other != data));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::data);
    }
  }
}

TEST_CASE("a compression that was cancelled ends") {
  struct Cancelled final : Services {
    void log(LogLevel, std::string_view) override {}
    bool cancelled() const override { return true; }
    int threads() const override { return 1; }
  } services;
  const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  const auto compressor = catalogue.create_compressor({{"use", "brotli"}}, CompressorContext{&services});
  try {
    compressor->compress(as_blobs(codes(100)));
    FAIL("it went on");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::interrupted);
  }
}

TEST_CASE("parts join to one standard stream, the same for any number of threads, and cost next to nothing") {
  struct Threads final : Services {
    explicit Threads(int count) : count(count) {}
    void log(LogLevel, std::string_view) override {}
    bool cancelled() const override { return false; }
    int threads() const override { return count; }
    int count;
  };
  const Catalogue catalogue({CADDIE_PLUGIN_DIR});
  const auto data = codes(300'000);
  const auto blobs = as_blobs(data);
  const auto compress = [&](int part, int threads, int quality = 9) {
    Threads services(threads);
    return catalogue
        .create_compressor({{"use", "brotli"}, {"quality", quality}, {"part", part}, {"shuffle", 1}},
                           CompressorContext{&services})
        ->compress(blobs);
  };
  const auto whole = compress(0, 4), parts = compress(65536, 1);
  CHECK((parts == compress(65536, 3)));
  CHECK((whole != parts));
  CHECK(static_cast<double>(parts.size()) < 1.005 * static_cast<double>(whole.size()));
  CHECK((decompress(*make({{"shuffle", 1}}), parts, blobs) == data));
  CHECK((decompress(*make({{"shuffle", 1}}), compress(1 << 15, 2), blobs) == data));
  // Two or three parts compete with the whole: at quality 9 the whole wins here, and would do so by luck at 11.
  CHECK(compress(150'000, 2).size() <= whole.size());
  CHECK((compress(150'000, 1) == compress(150'000, 4)));
  const auto best = compress(70'000, 1, 11), one = compress(0, 1, 11);  // 5 parts
  CHECK((best == compress(70'000, 4, 11)));
  CHECK((best != one));
  CHECK(static_cast<double>(best.size()) < 1.002 * static_cast<double>(one.size()));
  CHECK((decompress(*make({{"shuffle", 1}}), best, blobs) == data));
  if (std::system("command -v brotli > /dev/null 2>&1") != 0) {
    SKIP_TEST("the program `brotli` is not installed");
  }
  const auto folder = std::filesystem::temp_directory_path() / concat("caddie_brotli_parts_", ::getpid());
  std::filesystem::create_directories(folder);
  write_atomic(folder / "a.br", std::span<const std::byte>(parts));
  REQUIRE(std::system(concat("brotli -d -c ", folder.string(), "/a.br > ", folder.string(), "/a").c_str()) == 0);
  std::vector<std::byte> raw;
  for (const auto& blob : data) raw.insert(raw.end(), blob.begin(), blob.end());
  CHECK((read_bytes(folder / "a") == raw));
  std::filesystem::remove_all(folder);
}
