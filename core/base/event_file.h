// TensorBoard's event files, written by hand: records framed as TFRecord does it (length, masked CRC-32C, data, masked
// CRC-32C), each an Event in the protobuf wire format. Scalars and texts; nothing is read back.
// https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "caddie/export.h"

namespace caddie {

// CRC-32C (Castagnoli), and TensorFlow's masked form of it.
CADDIE_API std::uint32_t crc32c(std::string_view data);
CADDIE_API std::uint32_t masked_crc32c(std::string_view data);

class CADDIE_API EventFile {
 public:
  // Starts events.out.tfevents.<seconds>.<host>.<process>.caddie in the folder. Records are written at once, so that
  // TensorBoard can follow; a record that a crash tore is the last one, and readers drop it.
  explicit EventFile(const std::filesystem::path& folder);
  // `wall_seconds`: Unix time; 0: now. Values that are not finite are written as they are.
  void scalar(const std::string& tag, std::int64_t step, double value, double wall_seconds = 0);
  void text(const std::string& tag, std::int64_t step, const std::string& markdown, double wall_seconds = 0);
  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const std::string& event);
  std::filesystem::path path_;
};

}  // namespace caddie
