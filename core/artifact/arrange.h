// What happens to code matrices between the container and any compressor: rows sorted, matrices transposed. Lossless, and
// undone when an artifact is read. Settings are the keys `transpose` and `sort_rows` of the manifest's compress section,
// which the file holds; an order of rows is stored as one more blob a matrix, behind all others.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "caddie/compressor.h"
#include "core/base/json.h"

namespace caddie::artifact {

// none; by the mean magnitude of a row's codes; each row followed by the one that is nearest to it (sum of |a - b|).
enum class RowOrder { none, magnitude, similarity };

struct Arrangement {
  bool transpose = false;
  RowOrder rows = RowOrder::none;
  // Keys that are absent are off. Throws Error(data) for values that are not known.
  CADDIE_API static Arrangement from_json(const Json& compress);
  bool any() const { return transpose || rows != RowOrder::none; }
};

// Matrices of codes: int8 with at least two rows and two columns (and at most 65,536 rows where they are sorted).
CADDIE_API std::vector<BlobShape> arranged_shapes(std::span<const BlobShape> shapes, const Arrangement& arrangement);

class CADDIE_API ArrangedBlobs {
 public:
  // Without anything to do the blobs are passed on as they are, and must live on.
  ArrangedBlobs(std::span<const Blob> blobs, const Arrangement& arrangement);
  std::span<const Blob> blobs() const { return blobs_; }

 private:
  std::vector<Blob> blobs_;
  std::deque<std::vector<std::byte>> storage_;
};

// Compressor::decompress, and the arrangement undone. Throws Error(data) for an order that is none.
CADDIE_API void decompress_arranged(Compressor& compressor, const Arrangement& arrangement,
                                    std::span<const std::byte> payload, std::span<const BlobShape> shapes,
                                    std::span<const std::span<std::byte>> outputs);

}  // namespace caddie::artifact
