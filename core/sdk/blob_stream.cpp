#include "caddie/blob_stream.h"

#include <algorithm>
#include <memory>

#include "caddie/byte_shuffle.h"

namespace caddie {

std::vector<std::byte> join_blobs(std::span<const Blob> blobs, std::size_t stride) {
  std::vector<std::byte> raw;
  std::size_t total = 0;
  for (const auto& blob : blobs) total += blob.data.size();
  raw.reserve(total);
  for (const auto& blob : blobs) raw.insert(raw.end(), blob.data.begin(), blob.data.end());
  return stride > 1 ? byte_shuffle(raw, stride) : raw;
}

void split_blobs(std::span<const BlobShape> shapes, std::size_t stride,
                 std::span<const std::span<std::byte>> outputs,
                 const std::function<void(std::span<std::byte>)>& decode) {
  std::size_t total = 0;
  for (const auto& shape : shapes) total += shape.bytes();
  // Not a vector: it would touch all of its memory, however little the stream holds.
  const std::size_t padded = shuffled_size(total, stride);
  const auto stream = std::make_unique_for_overwrite<std::byte[]>(padded);
  decode({stream.get(), padded});
  std::unique_ptr<std::byte[]> plain;
  std::span<const std::byte> raw(stream.get(), padded);
  if (stride > 1) {
    plain = std::make_unique_for_overwrite<std::byte[]>(total);
    byte_unshuffle(raw, stride, {plain.get(), total});
    raw = {plain.get(), total};
  }
  for (const auto& output : outputs) {
    std::copy_n(raw.begin(), output.size(), output.begin());
    raw = raw.subspan(output.size());
  }
}

}  // namespace caddie
