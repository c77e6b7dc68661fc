// TensorBoard's files: the checksums of the specification, and records that read back byte by byte.
#include "core/base/event_file.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "core/base/files.h"
#include "tests/support/catch.h"

using namespace caddie;

namespace {

template <class Number>
Number number_at(const std::string& data, std::size_t place) {
  Number value;
  REQUIRE(place + sizeof value <= data.size());
  std::memcpy(&value, data.data() + place, sizeof value);
  return value;
}

// The data of each record; checks the framing.
std::vector<std::string> records_of(const std::string& file) {
  std::vector<std::string> records;
  for (std::size_t place = 0; place < file.size();) {
    const auto length = number_at<std::uint64_t>(file, place);
    CHECK(number_at<std::uint32_t>(file, place + 8) == masked_crc32c(file.substr(place, 8)));
    REQUIRE(place + 16 + length <= file.size());
    const std::string data = file.substr(place + 12, length);
    CHECK(number_at<std::uint32_t>(file, place + 12 + length) == masked_crc32c(data));
    records.push_back(data);
    place += 16 + length;
  }
  return records;
}

}  // namespace

TEST_CASE("CRC-32C gives the published values") {
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);  // RFC 3720, B.4
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
}

TEST_CASE("records are framed and hold events in the wire format") {
  const auto folder = std::filesystem::temp_directory_path() / ("caddie_events_" + std::to_string(::getpid()));
  EventFile events(folder);
  events.scalar("train/loss", 300, 2.5, 1000.5);
  events.text("manifest", 0, "*text*", 1000.5);
  const auto records = records_of(read_text(events.path()));
  std::filesystem::remove_all(folder);
  REQUIRE(records.size() == 3);
  CHECK(records[0].substr(9) == std::string("\x1a\x0d") + "brain.Event:2");
  // wall_time; step 300 = ac 02; summary { value { tag, simple_value } }
  const std::string expected =
      std::string("\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0a", 9) + "train/loss" + std::string("\x15\x00\x00\x20\x40", 5);
  CHECK(number_at<double>(records[1], 1) == 1000.5);
  CHECK(records[1].substr(9) == expected);
  CHECK(records[2].find("text") != std::string::npos);
  CHECK(events.path().filename().string().starts_with("events.out.tfevents."));
}
