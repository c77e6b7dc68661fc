// Byte shuffle, lane by lane. The inverse checks the padding, so that a stream has exactly one shuffled form.
#include "caddie/byte_shuffle.h"

#include <algorithm>

#include "caddie/error.h"

namespace caddie {

std::size_t shuffled_size(std::size_t size, std::size_t stride) {
  return stride < 2 ? size : (size + stride - 1) / stride * stride;
}

std::vector<std::byte> byte_shuffle(std::span<const std::byte> data, std::size_t stride) {
  std::vector<std::byte> out(shuffled_size(data.size(), stride));
  if (stride < 2) {
    std::copy(data.begin(), data.end(), out.begin());
    return out;
  }
  const std::size_t plane = out.size() / stride;
  for (std::size_t lane = 0; lane < stride; ++lane) {
    std::byte* to = out.data() + lane * plane;
    for (std::size_t from = lane; from < data.size(); from += stride) *to++ = data[from];
  }
  return out;
}

void byte_unshuffle(std::span<const std::byte> shuffled, std::size_t stride, std::span<std::byte> output) {
  CADDIE_CHECK(shuffled.size() == shuffled_size(output.size(), stride), ErrorKind::data, "a shuffled stream has ",
               shuffled.size(), " bytes, ", output.size(), " bytes with stride ", stride, " need ",
               shuffled_size(output.size(), stride));
  if (stride < 2) {
    std::copy(shuffled.begin(), shuffled.end(), output.begin());
    return;
  }
  const std::size_t plane = shuffled.size() / stride;
  for (std::size_t lane = 0; lane < stride; ++lane) {
    const std::byte* from = shuffled.data() + lane * plane;
    for (std::size_t to = lane; to < output.size(); to += stride) output[to] = *from++;
  }
  for (std::size_t index = output.size(); index < shuffled.size(); ++index)
    CADDIE_CHECK(shuffled[index % stride * plane + index / stride] == std::byte{0}, ErrorKind::data,
                 "the padding of a shuffled stream is not zero");
}

}  // namespace caddie
