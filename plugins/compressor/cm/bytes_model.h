// The model of everything but int8 codes: numbers of one, two or four bytes, coded from the highest byte down. The highest
// one is told by that of the number before, the lower ones by the higher ones of the same number.
#pragma once

#include <vector>

#include "coder.h"

namespace cm {

class BytesModel {
 public:
  // Little-endian numbers of `width` bytes.
  template <class Coder>
  void numbers(Coder& coder, std::byte* bytes, std::int64_t count, int width) {
    unsigned before = 0;
    for (std::int64_t i = 0; i < count && !coder.beyond(); ++i) {
      unsigned higher = before, highest = 0;
      for (int plane = width - 1; plane >= 0; --plane) {
        auto& byte = bytes[i * width + plane];
        const int kind = plane + (width == 1 ? 0 : width == 2 ? 1 : 3);  // 7 kinds
        const unsigned value = one(coder, std::to_integer<unsigned>(byte), kind, higher, highest);
        byte = static_cast<std::byte>(value);
        if (plane == width - 1) before = highest = value;
        higher = value;
      }
    }
  }

 private:
  template <class Coder>
  unsigned one(Coder& coder, unsigned value, int kind, unsigned near, unsigned far) {
    unsigned node = 1;
    const auto k = static_cast<std::size_t>(kind);
    for (int i = 7; i >= 0; --i) {
      const bool bit = mixed(coder, value >> i & 1, alone_[k * 256 + node], near_[(k * 256 + near) * 256 + node],
                             far_[(k * 256 + far) * 256 + node], mixers_[k * 256 + node], tables_);
      node = node * 2 + (bit ? 1u : 0u);
    }
    return node & 255;
  }

  static constexpr std::size_t kKinds = 7;
  std::vector<Bit> alone_ = std::vector<Bit>(kKinds * 256), near_ = std::vector<Bit>(kKinds * 65536),
                   far_ = std::vector<Bit>(kKinds * 65536);
  std::vector<Mixer> mixers_ = std::vector<Mixer>(kKinds * 256);
  const Tables& tables_ = tables();
};

}  // namespace cm
