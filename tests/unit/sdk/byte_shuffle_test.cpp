#include "caddie/byte_shuffle.h"

#include <string>

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {
std::vector<std::byte> bytes(const std::string& text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}
}  // namespace

TEST_CASE("bytes are shuffled by their position modulo the stride, zeros fill the last group") {
  CHECK((byte_shuffle(bytes("0123abcdABCD"), 4) == bytes("0aA1bB2cC3dD")));
  CHECK((byte_shuffle(bytes("0123a"), 4) == bytes(std::string("0a1\0"
                                                              "2\0"
                                                              "3\0",
                                                              8))));
  CHECK((byte_shuffle(bytes("abc"), 1) == bytes("abc")));
  CHECK(byte_shuffle({}, 4).empty());
}

TEST_CASE("unshuffling drops the padding, and refuses what shuffling cannot have made") {
  for (std::size_t size = 0; size < 20; ++size)
    for (const std::size_t stride : {0, 1, 2, 3, 4, 7}) {
      const auto data = bytes(std::string("abcdefghijklmnopqrst").substr(0, size));
      std::vector<std::byte> back(size);
      byte_unshuffle(byte_shuffle(data, stride), stride, back);
      CHECK((back == data));
    }
  auto shuffled = byte_shuffle(bytes("0123a"), 4);
  std::vector<std::byte> back(5);
  shuffled[3] = std::byte{1};
  CHECK_THROWS_AS(byte_unshuffle(shuffled, 4, back), Error);
  shuffled.pop_back();
  CHECK_THROWS_AS(byte_unshuffle(shuffled, 4, back), Error);
}
