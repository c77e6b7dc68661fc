#include "core/base/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "caddie/error.h"
#include "core/base/files.h"

namespace caddie {
namespace {

std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}

template <class Number>
std::string little_endian(Number value) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// The protobuf wire format: a field is its number and type, then its value.
std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}
std::string key(int field, int type) { return varint(static_cast<std::uint64_t>(field << 3 | type)); }
std::string number(int field, std::int64_t value) { return key(field, 0) + varint(static_cast<std::uint64_t>(value)); }
std::string bytes(int field, std::string_view value) {
  return key(field, 2) + varint(value.size()) + std::string(value);
}
std::string float64(int field, double value) { return key(field, 1) + little_endian(value); }
std::string float32(int field, float value) { return key(field, 5) + little_endian(value); }

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// Event{1: wall_time, 2: step} and what `rest` adds.
std::string event(double wall_seconds, std::int64_t step, const std::string& rest) {
  return float64(1, wall_seconds > 0 ? wall_seconds : now()) + (step != 0 ? number(2, step) : std::string()) + rest;
}

}  // namespace

std::uint32_t crc32c(std::string_view data) {
  static const auto table = crc_table();
  std::uint32_t crc = 0xffffffffu;
  for (const char c : data) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view data) {
  const std::uint32_t crc = crc32c(data);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

EventFile::EventFile(const std::filesystem::path& folder) {
  make_directories(folder);
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0') std::strcpy(host.data(), "localhost");
  path_ = folder / concat("events.out.tfevents.", static_cast<std::int64_t>(now()), ".", host.data(), ".", ::getpid(),
                          ".caddie");
  write(event(0, 0, bytes(3, "brain.Event:2")));
}

void EventFile::scalar(const std::string& tag, std::int64_t step, double value, double wall_seconds) {
  // Summary{1: Value{1: tag, 2: simple_value}} in Event's field 5.
  write(event(wall_seconds, step, bytes(5, bytes(1, bytes(1, tag) + float32(2, static_cast<float>(value))))));
}

void EventFile::text(const std::string& tag, std::int64_t step, const std::string& markdown, double wall_seconds) {
  // Value{1: tag, 9: SummaryMetadata{1: PluginData{1: "text"}}, 8: TensorProto{1: DT_STRING, 2: shape [1], 8: value}}.
  const std::string tensor = number(1, 7) + bytes(2, bytes(2, number(1, 1))) + bytes(8, markdown);
  write(event(wall_seconds, step,
              bytes(5, bytes(1, bytes(1, tag) + bytes(9, bytes(1, bytes(1, "text"))) + bytes(8, tensor)))));
}

void EventFile::write(const std::string& data) {
  const std::string length = little_endian(static_cast<std::uint64_t>(data.size()));
  const std::string record = length + little_endian(masked_crc32c(length)) + data + little_endian(masked_crc32c(data));
  const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const bool whole =
      descriptor >= 0 && ::write(descriptor, record.data(), record.size()) == static_cast<ssize_t>(record.size());
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  CADDIE_CHECK(whole, ErrorKind::failed, "cannot write ", path_.string(), ": ", std::strerror(reason));
}

}  // namespace caddie
