// Round trips of many kinds of codes, every decoder against the plain one, sizes against the entropy and against Brotli,
// machine independence, hostile streams.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

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
  static Threads one(1), four(4);
  Json section = options;
  if (!section.contains("use")) section["use"] = "rans";
  return catalogue.create_compressor(section, CompressorContext{threads == 1 ? &one : &four});
}

// Rows that are nearly those before them.
Bytes similar_rows(std::int64_t rows, std::int64_t columns) {
  Bytes codes = normal_codes(rows, columns, 40, 0, 127, "copies");
  Random random(9, "noise");
  for (std::size_t i = static_cast<std::size_t>(columns); i < codes.size(); ++i) {
    const int above = static_cast<signed char>(codes[i - static_cast<std::size_t>(columns)]);
    codes[i] = static_cast<std::byte>(std::clamp(above + static_cast<int>(random.below(3)) - 1, -127, 127));
  }
  return codes;
}

}  // namespace

TEST_CASE("codes of any size and shape come back, the extremes too") {
  const auto compressor = make({{"segment_bytes", 4096}});
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{37, 53}, {1, 20000}, {20000, 1}, {130, 64}, {90, 200}})
    for (const double deviation : {0.01, 1.0, 4.5, 40.0, 300.0}) {
      const auto codes = normal_codes(rows, columns, deviation, 0.5, 127, "any");
      INFO(rows << " x " << columns << ", deviation " << deviation);
      CHECK((back(*compressor, compressed(*compressor, blob(rows, columns, codes)), blob(rows, columns, codes)) == codes));
    }
  Bytes extremes;
  for (int i = 0; i < 4000; ++i) extremes.push_back(static_cast<std::byte>(i % 7 == 0 ? -128 : i % 3 == 0 ? 127 : 0));
  CHECK((back(*compressor, compressed(*compressor, blob(40, 100, extremes)), blob(40, 100, extremes)) == extremes));
  for (const int only : {0, 5, -128}) {
    const Bytes constant(7000, static_cast<std::byte>(only));
    const auto payload = compressed(*compressor, blob(70, 100, constant));
    CHECK(payload.size() < 700);
    CHECK((back(*compressor, payload, blob(70, 100, constant)) == constant));
  }
}

TEST_CASE("every decoder does as the plain one, over whole and short rows and at the end of the stream") {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{300, 128}, {70, 200}, {3, 64}, {515, 70}}) {
    const auto plain = normal_codes(rows, columns, 5, 0.4, 31, "decoders"), rowwise = similar_rows(rows, columns);
    for (const Bytes& codes : {plain, rowwise}) {
      auto counts = std::make_unique<rans::ModelCounts>();
      std::vector<rans::Measured> measured;
      measured.push_back(rans::measure(codes, columns, *counts));
      const rans::Model model = rans::fit(*counts);
      const Bytes bytes = rans::encode(measured, model);
      std::array<std::vector<std::uint32_t>, rans::kClasses> entries;
      for (std::size_t c = 0; c < rans::kClasses; ++c) entries[c] = rans::lay_out(model[c]);
      const std::size_t classes[] = {measured[0].head.model};
      for (const auto decoder : {&rans::decode_plain, &rans::decode_avx2, &rans::decode_avx512}) {
        if (decoder == &rans::decode_avx512 && rans::fastest_decoder() != decoder) continue;
        if (decoder == &rans::decode_avx2 && rans::fastest_decoder() == &rans::decode_plain) continue;
        Bytes result(codes.size());
        const rans::Piece piece{reinterpret_cast<std::int8_t*>(result.data()), rows * columns, columns, measured[0].head.mean};
        rans::decode(bytes, std::span(&piece, 1), classes, entries, decoder);
        CHECK((result == codes));
        // A stream that is not whole is refused by all alike.
        CHECK_THROWS_AS(rans::decode(std::span(bytes).first(bytes.size() - 2), std::span(&piece, 1), classes, entries, decoder),
                        Error);
      }
    }
  }
}

TEST_CASE("codes without structure cost their entropy, structure is used, and Brotli is larger") {
  const auto compressor = make(), brotli = make({{"use", "brotli"}, {"quality", 9}});
  const auto size = [&](const Bytes& codes, std::int64_t columns) {
    const auto one = blob(static_cast<std::int64_t>(codes.size()) / columns, columns, codes);
    const auto own = static_cast<double>(compressed(*compressor, one).size());
    CHECK(own < static_cast<double>(compressed(*brotli, one).size()));
    return own / entropy_bytes(codes);
  };
  CHECK(size(normal_codes(512, 512, 4.5, 0, 15, "flat"), 512) < 1.004);
  CHECK(size(normal_codes(512, 512, 4.5, 0.5, 127, "columns"), 512) < 0.965);
  CHECK(size(similar_rows(64, 512), 512) < 0.55);
}

TEST_CASE("numbers of several bytes cost less than their bytes one by one") {
  Random random(2, "steps");
  std::vector<float> values;
  for (int i = 0; i < 6000; ++i) values.push_back(static_cast<float>(0.8 + 0.05 * random.normal()));
  Bytes bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  const auto compressor = make();
  const auto one = blob(6000, 1, bytes, ElementType::float32);
  const auto payload = compressed(*compressor, one);
  CHECK(static_cast<double>(payload.size()) < 0.85 * static_cast<double>(bytes.size()));
  CHECK((back(*compressor, payload, one) == bytes));
}

TEST_CASE("frequencies: fitted ones add up, and come back from their bits") {
  Random random(3, "tables");
  for (int round = 0; round < 200; ++round) {
    rans::Counts counts{};
    const auto symbols = 1 + random.below(256);
    for (std::uint64_t i = 0; i < symbols; ++i)
      counts[random.below(256)] += static_cast<std::uint32_t>(random.below(round % 2 == 0 ? 3 : 100000));
    counts[random.below(256)] += 1;
    for (const bool symmetric : {false, true}) {
      const rans::Frequencies fitted = rans::fit(counts, symmetric);
      int sum = 0;
      for (std::size_t i = 0; i < 256; ++i) {
        sum += fitted[i];
        REQUIRE(fitted[i] < 4096);
        if (counts[i] > 0) REQUIRE(fitted[i] > 0);
      }
      REQUIRE(sum == 4096);
      rans::BitWriter writer;
      rans::write(fitted, symmetric, writer);
      const Bytes bytes = writer.finish();
      rans::BitReader reader(bytes);
      REQUIRE((rans::read(symmetric, reader) == fitted));
    }
  }
}

TEST_CASE("the stream is what it was, for any number of threads") {
  const auto codes = normal_codes(90, 70, 6, 0.3, 31, "fixed");
  const auto steps = normal_codes(90, 2, 30, 0, 127, "fixed steps");
  const std::vector<Blob> blobs{blob(90, 70, codes), blob(70, 90, codes), blob(90, 1, steps, ElementType::float16)};
  const Json small = {{"segment_bytes", 4096}};
  const auto payload = make(small)->compress(blobs);
  CHECK((payload == make(small, 4)->compress(blobs)));
  // Change the version of the component's behaviour with this number.
  CHECK(sha256(std::span<const std::byte>(payload)).substr(0, 16) == "b3134d0508df6b1f");
}

TEST_CASE("a short stream for a large matrix is an error at once, and damage does not stay unseen") {
  const auto codes = normal_codes(60, 50, 4, 0, 15, "small");
  const auto compressor = make();
  const auto one = blob(60, 50, codes);
  const auto payload = compressed(*compressor, one);
  for (const BlobShape& large : {BlobShape{"w.codes", ElementType::int8, 1 << 20, 1 << 10},
                                 BlobShape{"w.codes", ElementType::int8, 1, 1 << 30}}) {
    // The output is never touched beyond the first rows: a mapping of that size need not exist in memory.
    const auto room = std::make_unique_for_overwrite<std::byte[]>(large.bytes());
    const std::span<std::byte> outputs[] = {{room.get(), large.bytes()}};
    CHECK_THROWS_AS(compressor->decompress(payload, std::span(&large, 1), outputs), Error);
  }
  for (std::size_t cut = 0; cut < payload.size(); cut += 97)
    CHECK_THROWS_AS(back(*compressor, Bytes(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(cut)), one), Error);
  // Every word is part of a state that must end where it began, or changes what is decoded.
  int unseen = 0;
  for (std::size_t i = 0; i < payload.size(); i += 11) {
    Bytes damaged = payload;
    damaged[i] ^= std::byte{1};
    try {
      if (back(*compressor, damaged, one) == codes) ++unseen;
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::data);
    }
  }
  CHECK(unseen <= 2);
}
