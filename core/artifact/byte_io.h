// Little-endian bytes and varints for the container, written to a buffer and read from a hostile span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/error.h"

namespace caddie::artifact {

class ByteWriter {
 public:
  template <class T>
  void number(T value) {  // fixed width
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
  }
  void varint(std::uint64_t value) {  // LEB128
    for (; value >= 128; value >>= 7) bytes_.push_back(static_cast<std::byte>(value | 128));
    bytes_.push_back(static_cast<std::byte>(value));
  }
  void text(std::string_view value) {  // length, then bytes
    varint(value.size());
    raw(std::as_bytes(std::span(value.data(), value.size())));
  }
  void raw(std::span<const std::byte> value) { bytes_.insert(bytes_.end(), value.begin(), value.end()); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::size_t left() const { return bytes_.size(); }

  std::span<const std::byte> raw(std::size_t size) {
    CADDIE_CHECK(size <= bytes_.size(), ErrorKind::data, "the artifact's header ends early: ", size,
                 " bytes are needed, ", bytes_.size(), " are left");
    const auto part = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, raw(sizeof(T)).data(), sizeof(T));
    return value;
  }
  // At most `maximum`, in its shortest form.
  std::uint64_t varint(std::uint64_t maximum, const char* what) {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(raw(1)[0]);
      CADDIE_CHECK(shift < 63 && !(shift > 0 && byte == 0), ErrorKind::data, "the artifact's header has a malformed ",
                   what);
      value |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    CADDIE_CHECK(value <= maximum, ErrorKind::data, "the artifact's header says ", what, " ", value, ", at most ",
                 maximum, " is accepted");
    return value;
  }
  std::string text(std::size_t maximum, const char* what) {
    const auto part = raw(static_cast<std::size_t>(varint(maximum, what)));
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace caddie::artifact
