// The artifact file, `.caddie`: a header of under 3 KB, then one compressed payload. Reading needs the compressor that
// wrote it and no quantizer. The layout is described in container.cpp; everything read is taken to be hostile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "caddie/compressor.h"
#include "core/artifact/quantized_model.h"
#include "core/base/json.h"

namespace caddie::artifact {

// Creates a compressor from {use, options...}. The section comes out of the file: unknown names are the factory's
// error.
using CompressorFactory = std::function<std::shared_ptr<Compressor>(const Json& section)>;

struct ReadLimits {
  std::uint64_t decoded_bytes = std::uint64_t{4} << 30;
};

struct ArtifactHeader {
  int version = 0;
  Json compress;               // {use, options...}
  Json about;                  // what the writer said: "model" (to build it), "vocabulary", "tokenizer" (sha-256), ...
  std::string content_sha256;  // over names, shapes, encodings and uncompressed blobs; not over how they are compressed
  std::uint64_t header_bytes = 0, payload_bytes = 0, raw_bytes = 0;
  std::uint64_t file_bytes() const { return header_bytes + payload_bytes; }
};

struct Artifact {
  ArtifactHeader header;
  std::vector<StoredTensor> tensors;  // in the file's order: by name template, then by layer
};

// Deterministic: the same tensors, `about` and section give the same bytes, in any order of the tensors within a layer
// range and on any number of threads. Throws Error(data) for values that are not finite and names that cannot be
// stored.
CADDIE_API std::vector<std::byte> encode_artifact(std::span<const StoredTensor> tensors, const Json& about,
                                                  const Json& compress, Compressor& compressor);
CADDIE_API ArtifactHeader write_artifact(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                                         const Json& about, const Json& compress, Compressor& compressor);

// Throws Error(data) unless every checksum holds. Allocates at most the declared sizes, which must be under the limits.
CADDIE_API Artifact decode_artifact(std::span<const std::byte> file, const CompressorFactory& factory,
                                    const ReadLimits& limits = {});
CADDIE_API Artifact read_artifact(const std::filesystem::path& path, const CompressorFactory& factory,
                                  const ReadLimits& limits = {});
// The header alone: nothing is decompressed. Tensors have names, shapes and encodings, and no values.
CADDIE_API Artifact read_artifact_header(const std::filesystem::path& path, const ReadLimits& limits = {});

// decode(artifact.tensors): float32, in the file's order.
CADDIE_API NamedWeights decoded_weights(const Artifact& artifact);

}  // namespace caddie::artifact
