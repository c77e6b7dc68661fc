// What the tests of compressors that know codes share: codes of several kinds, one blob there and back, threads by number.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "caddie/compressor.h"
#include "caddie/services.h"

namespace caddie::test {

using Bytes = std::vector<std::byte>;

class Threads final : public Services {
 public:
  explicit Threads(int count) : count_(count) {}
  void log(LogLevel, std::string_view) override {}
  bool cancelled() const override { return false; }
  int threads() const override { return count_; }

 private:
  int count_;
};

// Codes of normal numbers whose columns have different deviations.
inline Bytes normal_codes(std::int64_t rows, std::int64_t columns, double deviation, double column_spread, int top,
                          const std::string& label) {
  Random random(5, label);
  std::vector<double> column;
  for (std::int64_t c = 0; c < columns; ++c) column.push_back(deviation * std::exp(column_spread * random.normal()));
  Bytes codes;
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const double value = random.normal() * column[static_cast<std::size_t>(i % columns)];
    codes.push_back(
        static_cast<std::byte>(static_cast<int>(std::clamp(std::nearbyint(value), -double(top), double(top)))));
  }
  return codes;
}

// What the codes cost one by one with their own best code.
inline double entropy_bytes(const Bytes& codes) {
  std::vector<double> counts(256, 0);
  for (const auto code : codes) ++counts[std::to_integer<std::size_t>(code)];
  double bits = 0;
  for (const double n : counts)
    if (n > 0) bits += n * std::log2(static_cast<double>(codes.size()) / n);
  return bits / 8;
}

inline Blob blob(std::int64_t rows, std::int64_t columns, const Bytes& data, ElementType type = ElementType::int8) {
  return {{"w.codes", type, rows, columns}, data};
}

inline Bytes compressed(Compressor& compressor, const Blob& one) { return compressor.compress(std::span(&one, 1)); }

inline Bytes back(Compressor& compressor, const Bytes& payload, const Blob& one) {
  Bytes result(one.data.size());
  const std::span<std::byte> outputs[] = {result};
  compressor.decompress(payload, std::span(&one.shape, 1), outputs);
  return result;
}

}  // namespace caddie::test
