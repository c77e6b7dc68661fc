#include "core/artifact/container.h"

#include <ATen/ops/equal.h>

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>

#include "caddie/services.h"
#include "core/artifact/layout.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "tests/support/catch.h"
#include "tests/unit/artifact/fakes.h"

using namespace caddie;
using namespace caddie::artifact;
using namespace fakes;

namespace {

std::vector<StoredTensor> mixed_tensors() {
  std::vector<StoredTensor> tensors = {coded("embedding.weight", 40, 16, 8, Role::embedding),
                                       plain("skip.weight", {2, 16}, at::kFloat)};
  for (const int layer : {0, 1, 3}) {  // a gap, and a layer whose encoding differs
    const auto block = "blocks." + std::to_string(layer) + ".";
    tensors.push_back(coded(block + "up.weight", 12, 16, layer == 1 ? 6 : 5));
    tensors.push_back(plain(block + "gain", {4}, at::kBFloat16));
    tensors.push_back(plain(block + "down.weight", {3, 4, 5}, at::kHalf, Role::matrix));
  }
  tensors.push_back(plain("scalar", {}, at::kFloat));
  tensors.push_back(plain("empty.12", {0, 7}, at::kFloat, Role::matrix));
  tensors[0].data.round_bfloat16 = true;
  return tensors;
}

// Groups of steps, low-rank parts of both kinds.
std::vector<StoredTensor> extended_tensors() {
  std::vector<StoredTensor> tensors;
  for (int layer = 0; layer < 2; ++layer) {
    const auto block = "blocks." + std::to_string(layer) + ".";
    auto grouped = coded(block + "grouped.weight", 6, 10, 2);
    grouped.data.steps = at::randn({6, 4}).abs().to(at::kHalf);  // groups of 3, 3, 3 and 1 columns
    tensors.push_back(grouped);
    auto halves = coded(block + "halves.weight", 6, 10, 5);
    halves.data.low_rank = {at::randn({2, 6}).to(at::kHalf), at::randn({2, 10}).to(at::kHalf), {}, {}};
    tensors.push_back(halves);
    auto codes = coded(block + "codes.weight", 6, 10, 6);
    codes.data.low_rank = {at::full({1, 6}, 3, at::kChar), at::full({1, 10}, -7, at::kChar),
                           at::randn({1}).to(at::kHalf), at::randn({1}).to(at::kHalf)};
    tensors.push_back(codes);
  }
  tensors.push_back(coded("plain.weight", 3, 4, 5));
  return tensors;
}

std::vector<std::byte> encode(const std::vector<StoredTensor>& tensors,
                              const Json& about = {{"model", {{"use", "x"}}}}) {
  XorCompressor compressor;
  return encode_artifact(tensors, about, kXorSection, compressor);
}

// The error's text; empty when nothing is thrown. Any other exception fails the test.
std::string refusal(std::span<const std::byte> file, const ReadLimits& limits = {}) {
  try {
    decode_artifact(file, xor_factory(), limits);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::data);
    return error.what();
  }
  return {};
}

void put(std::vector<std::byte>& file, std::size_t at, std::uint64_t value, std::size_t bytes) {
  std::memcpy(file.data() + at, &value, bytes);
}

// Makes the header's checksum fit again after a change.
std::vector<std::byte> sealed(std::vector<std::byte> file) {
  std::uint32_t header;
  std::memcpy(&header, file.data() + 12, 4);
  const std::span<const std::byte> all(file);
  put(file, 64, crc32c(all.subspan(68, header), crc32c(all.first(64))), 4);
  return file;
}

// A file with these bytes as tensor records (after the two JSON sections) and no payload.
std::vector<std::byte> handmade(const ByteWriter& records, std::uint64_t raw_bytes) {
  ByteWriter header;
  header.text(canonical(kXorSection));
  header.text("{}");
  header.raw(records.bytes());
  auto file = encode({});
  std::vector<std::byte> made(file.begin(), file.begin() + 68);
  made.insert(made.end(), header.bytes().begin(), header.bytes().end());
  put(made, 12, header.bytes().size(), 4);
  put(made, 16, 0, 8);
  put(made, 24, raw_bytes, 8);
  return sealed(made);
}

}  // namespace

TEST_CASE("an artifact gives back every tensor, whatever its encoding") {
  const auto tensors = mixed_tensors();
  const auto file = encode(tensors);
  const auto artifact = decode_artifact(file, xor_factory());
  REQUIRE(artifact.tensors.size() == tensors.size());
  CHECK(artifact.header.file_bytes() == file.size());
  CHECK(artifact.header.about["model"]["use"] == "x");
  std::map<std::string, const StoredTensor*> found;
  for (const auto& tensor : artifact.tensors) found[tensor.name] = &tensor;
  for (const auto& tensor : tensors) {
    INFO(tensor.name);
    REQUIRE(found.contains(tensor.name));
    const auto& back = *found[tensor.name];
    CHECK(back.shape == tensor.shape);
    CHECK(back.role == tensor.role);
    CHECK(back.data.encoding == tensor.data.encoding);
    CHECK(back.data.bits == tensor.data.bits);
    CHECK(back.data.round_bfloat16 == tensor.data.round_bfloat16);
    CHECK(back.data.codes.scalar_type() == tensor.data.codes.scalar_type());
    CHECK(at::equal(back.data.codes, tensor.data.codes));
    if (tensor.data.encoding == Encoding::row_codes) CHECK(at::equal(back.data.steps, tensor.data.steps));
  }
  CHECK(weights_hash(decoded_weights(artifact)) == weights_hash(decode(tensors)));
}

TEST_CASE("steps of groups and low-rank parts come back, and every damage to them is refused") {
  const auto tensors = extended_tensors();
  const auto file = encode(tensors);
  const auto artifact = decode_artifact(file, xor_factory());
  REQUIRE(artifact.tensors.size() == tensors.size());
  std::map<std::string, const StoredTensor*> found;
  for (const auto& tensor : artifact.tensors) found[tensor.name] = &tensor;
  for (const auto& tensor : tensors)
    for (const Part part : kParts) {
      INFO(tensor.name << " " << part_name(part));
      const auto &back = part_of(found.at(tensor.name)->data, part), &given = part_of(tensor.data, part);
      REQUIRE(back.defined() == given.defined());
      if (given.defined()) CHECK(at::equal(back, given));
    }
  CHECK(weights_hash(decoded_weights(artifact)) == weights_hash(decode(tensors)));
  for (std::size_t at = 0; at < file.size(); ++at) {
    auto damaged = file;
    damaged[at] ^= std::byte{1};
    if (refusal(damaged).empty()) FAIL("a flipped bit in byte " << at << " went unnoticed");
  }
  auto bad = tensors;
  bad[0].data.steps = at::randn({6, 7}).to(at::kHalf);  // 10 columns in groups of 2: 5, not 7
  CHECK_THROWS_WITH(encode(bad), Catch::Contains("7 steps for 10 columns"));
  bad = tensors;
  bad[1].data.low_rank.right = at::randn({2, 9}).to(at::kHalf);
  CHECK_THROWS_WITH(encode(bad), Catch::Contains("low-rank part"));
}

TEST_CASE("the same tensors give the same bytes, and the content's hash does not depend on the compressor") {
  const auto tensors = mixed_tensors();
  CHECK((encode(tensors) == encode(tensors)));
  XorCompressor other(1);
  const auto second = encode_artifact(tensors, {{"name", "b"}}, {{"use", "xor"}, {"key", 1}}, other);
  const auto a = decode_artifact(encode(tensors), xor_factory()), b = decode_artifact(second, xor_factory());
  CHECK(a.header.content_sha256 == b.header.content_sha256);
  auto changed = tensors;
  changed[0].data.codes = changed[0].data.codes.neg();
  CHECK(decode_artifact(encode(changed), xor_factory()).header.content_sha256 != a.header.content_sha256);
}

TEST_CASE("the reference's 163 tensors cost at most 3 KB beside their values") {
  const auto tensors = reference_tensors(16, 32);
  std::size_t blobs = 0;
  for (const auto& tensor : tensors) blobs += tensor.data.encoding == Encoding::row_codes ? 2 : 1;
  CHECK(blobs == 163);
  std::size_t raw = 0;
  for (const auto& tensor : tensors)
    raw += tensor.data.codes.nbytes() + (tensor.data.steps.defined() ? tensor.data.steps.nbytes() : 0);
  const auto file = encode(tensors, reference_about());
  INFO("overhead " << file.size() - raw);
  CHECK(file.size() - raw <= 2048);  // dimensions of full size take a byte or two more each
  CHECK(decode_artifact(file, xor_factory()).header.header_bytes == file.size() - raw);
}

TEST_CASE("every damaged byte and every truncation is refused") {
  const auto file = encode(mixed_tensors());
  for (std::size_t at = 0; at < file.size(); ++at) {
    auto damaged = file;
    damaged[at] ^= static_cast<std::byte>(1 << (at % 8));
    if (refusal(damaged).empty()) FAIL("a flipped bit in byte " << at << " went unnoticed");
  }
  for (std::size_t size = 0; size < file.size(); size += size < 200 ? 1 : 37)
    if (refusal(std::span(file).first(size)).empty()) FAIL("a file cut to " << size << " bytes was read");
  auto longer = file;
  longer.push_back(std::byte{0});
  CHECK_THAT(refusal(longer), Catch::Contains("followed by more"));
  CHECK(refusal(file).empty());
}

TEST_CASE("a damaged payload names the tensor") {
  auto file = encode(mixed_tensors());
  file.back() ^= std::byte{1};  // payload order: codes, steps, float16, bfloat16, float32
  CHECK_THAT(refusal(file), Catch::Contains("scalar"));
}

TEST_CASE("damage whose header checksum fits is still refused, and never a crash") {
  const auto file = encode(mixed_tensors());
  std::uint32_t header;
  std::memcpy(&header, file.data() + 12, 4);
  Random random(7, "fuzz");
  for (std::size_t at = 8; at < 68 + header; ++at) {
    if (at >= 64 && at < 68) continue;
    for (int round = 0; round < 3; ++round) {
      auto damaged = file;
      damaged[at] = static_cast<std::byte>(random.below(256));
      if (damaged[at] == file[at]) continue;
      std::uint32_t declared;
      std::memcpy(&declared, damaged.data() + 12, 4);
      if (declared > file.size() - 68) continue;
      const auto hostile = sealed(damaged);
      // A change of `about` alone is a valid artifact that says something else; all others are refused.
      try {
        const auto read = decode_artifact(hostile, xor_factory());
        CHECK(read.header.content_sha256 == decode_artifact(file, xor_factory()).header.content_sha256);
      } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::data);
      }
    }
  }
}

TEST_CASE("hostile headers are refused before anything is allocated") {
  const auto record = [](std::uint8_t flags, const std::string& name, std::vector<std::uint64_t> tail) {
    ByteWriter writer;
    writer.varint(1);
    writer.number(flags);
    writer.text(name);
    for (const auto value : tail) writer.varint(value);
    return writer;
  };
  const std::uint8_t f32 = 1 | 4 << 5, codes = 3 << 5;
  SECTION("huge dimensions") {
    CHECK_THAT(refusal(handmade(record(f32, "w", {2, 2147483647, 2147483647}), 0)),
               Catch::Contains("larger than the limit"));
  }
  SECTION("a product that overflows to a small number") {
    CHECK_THAT(refusal(handmade(record(f32, "w", {3, 1 << 30, 1 << 30, 16}), 0)),
               Catch::Contains("larger than the limit"));
    CHECK_THAT(refusal(handmade(record(f32, "w", {4, 0, 2147483647, 2147483647, 2147483647}), 0)),
               Catch::Contains("larger than the limit"));
  }
  SECTION("a dimension beyond its limit") {
    CHECK_THAT(refusal(handmade(record(f32, "w", {1, std::uint64_t{1} << 40}), 0)), Catch::Contains("a dimension"));
  }
  SECTION("more decoded bytes than accepted") {
    CHECK_THAT(refusal(handmade(record(f32, "w", {1, 1000}), 4000), {.decoded_bytes = 3999}),
               Catch::Contains("the limit is 3999"));
    CHECK_THAT(refusal(handmade(record(f32, "w", {1, 1000}), 8), {.decoded_bytes = 3999}),
               Catch::Contains("more than 3999"));
  }
  SECTION("a bomb: many layers of a large tensor, no payload") {
    CHECK_THAT(refusal(handmade(record(codes | 2, "w.{}", {0, 60000, 2, 100000, 1000}), 0)),
               Catch::Contains("declares more than"));
  }
  SECTION("declared bytes that are not the tensors'") {
    CHECK_THAT(refusal(handmade(record(f32, "w", {1, 0}), 5)),
               Catch::Contains("ends early") || Catch::Contains("its tensors have"));
  }
  SECTION("names") {
    for (const std::string name : {"", "a b", "a\n", "\xff", "{}", "a\"b"})
      CHECK_THAT(refusal(handmade(record(f32, name, {0}), 4)), Catch::Contains("name is not accepted"));
    CHECK_THAT(refusal(handmade(record(f32 | 2, "w", {0, 2, 0}), 8)), Catch::Contains("without a place"));
    ByteWriter twice;
    twice.varint(2);
    for (int i = 0; i < 2; ++i) {
      twice.number(f32);
      twice.text("w");
      twice.varint(0);
    }
    CHECK_THAT(refusal(handmade(twice, 8)), Catch::Contains("two tensors 'w'"));
  }
  SECTION("unknown types, roles and bits") {
    CHECK_THAT(refusal(handmade(record(1 | 7 << 5, "w", {0}), 0)), Catch::Contains("unknown type"));
    CHECK_THAT(refusal(handmade(record(1 | 3 << 3 | 4 << 5, "w", {0}), 0)), Catch::Contains("unknown role"));
    CHECK_THAT(refusal(handmade(record(7 << 5, "w", {2, 1, 1, 7, 1, 1}), 0)),
               Catch::Contains("codes of an unknown kind (7)"));
    CHECK_THAT(refusal(handmade(record(7 << 5, "w", {2, 1, 1, 3, 1, 0}), 0)), Catch::Contains("of 1 columns with 1"));
    CHECK_THAT(refusal(handmade(record(7 << 5, "w", {2, 1, 5, 3, 4, 0}), 0)), Catch::Contains("with 4 steps a row"));
    CHECK_THAT(refusal(handmade(record(7 << 5, "w", {2, 1, 5, 3, 1, 70000}), 0)), Catch::Contains("a rank"));
    CHECK_THAT(refusal(handmade(record(codes, "w", {1, 4}), 0)), Catch::Contains("codes of 1 dimensions"));
    CHECK_THAT(refusal(handmade(record(f32, "w", {9}), 0)), Catch::Contains("dimensions"));
  }
  SECTION("too many records, malformed numbers") {
    ByteWriter many;
    many.varint(1u << 20);
    CHECK_THAT(refusal(handmade(many, 0)), Catch::Contains("number of records"));
    ByteWriter endless;
    for (int i = 0; i < 12; ++i) endless.number(std::uint8_t{0xff});
    CHECK_THAT(refusal(handmade(endless, 0)), Catch::Contains("malformed"));
    ByteWriter padded;  // 0 in two bytes
    padded.number(std::uint8_t{0x80});
    padded.number(std::uint8_t{0});
    CHECK_THAT(refusal(handmade(padded, 0)), Catch::Contains("malformed"));
  }
  SECTION("a version of the future, and something else altogether") {
    auto file = encode({});
    file[8] = std::byte{9};
    CHECK_THAT(refusal(sealed(file)), Catch::Contains("version 9"));
    CHECK_THAT(refusal(std::as_bytes(std::span(std::string_view("PK\x03\x04 a pickle")))),
               Catch::Contains("no caddie artifact"));
  }
}

TEST_CASE("deeply nested JSON in a header does not exhaust the stack") {
  ByteWriter header;
  std::string deep = "{\"use\":\"xor\",\"key\":" + std::string(2000, '[') + std::string(2000, ']') + "}";
  header.text(deep);
  header.text("{}");
  header.varint(0);
  auto file = encode({});
  file.resize(68);
  file.insert(file.end(), header.bytes().begin(), header.bytes().end());
  put(file, 12, header.bytes().size(), 4);
  CHECK_THAT(refusal(sealed(file)), Catch::Contains("nested deeper"));
}

TEST_CASE("values that could not be scored are not written") {
  auto tensors = mixed_tensors();
  tensors[1].data.codes[0][0] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(encode(tensors), Catch::Contains("skip.weight") && Catch::Contains("not finite"));
  tensors = mixed_tensors();
  tensors[2].data.codes[0][0] = 16;
  CHECK_THROWS_WITH(encode(tensors), Catch::Contains("codes from"));
  tensors = mixed_tensors();
  tensors.push_back(tensors[0]);
  CHECK_THROWS_WITH(encode(tensors), Catch::Contains("two tensors"));
  tensors = mixed_tensors();
  tensors[0].name = "with space";
  CHECK_THROWS_AS(encode(tensors), Error);
}

TEST_CASE("files: written whole, read back, the header alone") {
  const auto folder = std::filesystem::temp_directory_path() / concat("caddie_container_", ::getpid());
  std::filesystem::create_directories(folder);
  const auto path = folder / "model.caddie";
  const auto tensors = mixed_tensors();
  XorCompressor compressor;
  const auto header = write_artifact(path, tensors, {{"a", 1}}, kXorSection, compressor);
  CHECK(header.file_bytes() == std::filesystem::file_size(path));
  CHECK(read_artifact(path, xor_factory()).tensors.size() == tensors.size());
  const auto alone = read_artifact_header(path);
  CHECK(alone.tensors.size() == tensors.size());
  CHECK_FALSE(alone.tensors[0].data.codes.defined());
  CHECK(alone.header.content_sha256 == header.content_sha256);
  std::ofstream(path, std::ios::binary) << "short";
  CHECK_THROWS_WITH(read_artifact(path, xor_factory()), Catch::Contains("model.caddie"));
  CHECK_THROWS_AS(read_artifact(folder / "missing.caddie", xor_factory()), Error);
  std::filesystem::remove_all(folder);
}
