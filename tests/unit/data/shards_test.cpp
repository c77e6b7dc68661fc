#include "core/data/shards.h"

#include <cstring>

#include "tests/support/catch.h"
#include "tests/unit/data/support.h"

using namespace caddie;
using namespace caddie::data;
using Catch::Matchers::Contains;

namespace {

std::string shard_bytes(std::int32_t magic, std::int32_t version, std::int32_t count, std::size_t payload_bytes) {
  std::string bytes(1024 + payload_bytes, '\0');
  const std::int32_t header[3] = {magic, version, count};
  std::memcpy(bytes.data(), header, sizeof header);
  return bytes;
}

std::string message_of(const Folder& folder, const std::string& content) {
  write_atomic(folder / "x.bin", content);
  const Error error = error_of([&] { Shard shard(folder / "x.bin"); });
  CHECK(error.kind() == ErrorKind::data);
  CHECK_THAT(error.message(), Contains("x.bin"));
  CHECK(error_of([&] { check_shard(folder / "x.bin"); }).message() == error.message());
  return error.message();
}

}  // namespace

TEST_CASE("a written shard reads back, byte for byte as the format says") {
  const Folder folder;
  const std::vector<std::uint16_t> tokens = {1, 65535, 256, 7};
  write_shard(folder / "a.bin", tokens);
  std::string expected = shard_bytes(20240520, 1, 4, 8);
  std::memcpy(expected.data() + 1024, tokens.data(), 8);
  CHECK(read_text(folder / "a.bin") == expected);
  const Shard shard(folder / "a.bin");
  CHECK(std::vector<std::uint16_t>(shard.tokens().begin(), shard.tokens().end()) == tokens);
  CHECK(check_shard(folder / "a.bin") == 4);
}

TEST_CASE("each way of being wrong has its own message with the found and the expected value") {
  const Folder folder;
  CHECK_THAT(message_of(folder, ""), Contains("header") && Contains(" 0 bytes") && Contains("1024"));
  CHECK_THAT(message_of(folder, shard_bytes(20240520, 1, 0, 0).substr(0, 1023)), Contains("1023 bytes"));
  CHECK_THAT(message_of(folder, shard_bytes(20240521, 1, 2, 4)), Contains("magic 20240521") && Contains("20240520"));
  CHECK_THAT(message_of(folder, shard_bytes(20240520, 2, 2, 4)), Contains("version 2") && Contains("expected 1"));
  CHECK_THAT(message_of(folder, shard_bytes(20240520, 1, -5, 4)), Contains("-5 tokens"));
  CHECK_THAT(message_of(folder, shard_bytes(20240520, 1, 3, 4)),
             Contains("1028 bytes") && Contains("1030") && Contains("cut off"));
  CHECK_THAT(message_of(folder, shard_bytes(20240520, 1, 2, 5)),
             Contains("1029 bytes") && Contains("1028") && Contains("too long"));
  CHECK_THAT(error_of([&] { Shard shard(folder / "missing.bin"); }).message(), Contains("missing.bin"));
}

TEST_CASE("patterns are resolved in name order, and nothing found names pattern and folder") {
  const Folder folder;
  for (const char* name : {"b_000001.bin", "b_000000.bin", "a.bin"})
    write_shard(folder / name, std::vector<std::uint16_t>{1});
  const std::string base = folder.path().string();
  CHECK(resolve_shards({base + "/b_*.bin"}) ==
        std::vector<std::filesystem::path>{folder / "b_000000.bin", folder / "b_000001.bin"});
  CHECK(resolve_shards({base + "/b_*.bin", base + "/*.bin"}).size() == 3);
  const Error error = error_of([&] { resolve_shards({base + "/c_*.bin"}); });
  CHECK(error.kind() == ErrorKind::data);
  CHECK_THAT(error.message(), Contains("c_*.bin") && Contains(base));
  CHECK_THAT(error_of([&] { resolve_shards({base + "/none/c.bin"}); }).message(), Contains("no such folder"));
}

TEST_CASE("a stream over shards is one ring") {
  const Folder folder;
  write_shard(folder / "0.bin", std::vector<std::uint16_t>{0, 1, 2});
  write_shard(folder / "1.bin", {});
  write_shard(folder / "2.bin", std::vector<std::uint16_t>{3, 4});
  const TokenStream stream({folder / "0.bin", folder / "1.bin", folder / "2.bin"});
  REQUIRE(stream.size() == 5);
  std::vector<std::int64_t> out(12);
  stream.copy(2, 12, out.data(), true);
  CHECK(out == std::vector<std::int64_t>{2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3});
  CHECK(stream.tensor(1, 3).sum().item<std::int64_t>() == 6);
  CHECK_THROWS_AS(stream.tensor(3, 3), Error);
  CHECK_THAT(stream.locate(4), Contains("2.bin, token 1"));
}
