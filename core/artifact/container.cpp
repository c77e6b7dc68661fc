// The artifact file. All numbers are little-endian, nothing is padded, there are no time stamps.
//
//    0   8  magic 89 'C' 'D' 'E' 0D 0A 1A 0A (a text conversion or a 7-bit channel breaks it)
//    8   1  version, 1             9   3  zero
//   12   4  header bytes h        16   8  payload bytes p       24   8  bytes of all blobs, uncompressed
//   32  32  SHA-256 of the content: the tensor records, then all blobs in payload order
//   64   4  CRC-32C of bytes 0 to 63 and of the header
//   68   h  header: compressor (JSON text), about (JSON text), tensor records (layout.h), a CRC-32C a blob
//   68+h p  payload: what the compressor made of the blobs, as one piece; then the file ends
#include "core/artifact/container.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <utility>

#include "caddie/error.h"
#include "core/artifact/arrange.h"
#include "core/artifact/byte_io.h"
#include "core/artifact/layout.h"
#include "core/base/files.h"
#include "core/base/hash.h"

namespace caddie::artifact {
namespace {

constexpr std::array<unsigned char, 8> kMagic = {0x89, 'C', 'D', 'E', '\r', '\n', 0x1a, '\n'};
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kFixed = 68, kHashed = 64, kMaxHeader = std::size_t{1} << 20, kMaxSection = 4096,
                      kMaxAbout = std::size_t{1} << 18;
constexpr int kMaxJsonDepth = 32;

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::string content_hash(const Layout& layout, std::span<const Blob> blobs) {
  ByteWriter records;
  write_layout(layout, records);
  Sha256 hash;
  hash.update(records.bytes());
  for (const auto& blob : blobs) hash.update(blob.data);
  return hash.hex();
}

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

// Codes within the range of their bits, numbers finite: what can be decoded and scored.
// The smallest and the largest; 64 at a time, and as unsigned numbers of the same order, which every x86 has vectors for.
std::pair<int, int> range_of(std::span<const std::int8_t> codes) {
  using Block = std::uint8_t __attribute__((vector_size(64)));
  const auto first = static_cast<std::uint8_t>(static_cast<std::uint8_t>(codes.front()) ^ 0x80u);
  Block low = Block{} + first, high = low;
  std::size_t i = 0;
  for (; i + sizeof(Block) <= codes.size(); i += sizeof(Block)) {
    Block block;
    std::memcpy(&block, codes.data() + i, sizeof(block));
    block ^= Block{} + std::uint8_t{0x80};
    low = low < block ? low : block;
    high = high > block ? high : block;
  }
  int least = codes.front(), most = least;
  for (std::size_t k = 0; k < sizeof(Block); ++k) {
    least = std::min(least, low[k] - 128);
    most = std::max(most, high[k] - 128);
  }
  for (; i < codes.size(); ++i) least = std::min<int>(least, codes[i]), most = std::max<int>(most, codes[i]);
  return {least, most};
}

void check_values(const StoredTensor& tensor) {
  const auto& data = tensor.data;
  if (data.codes.numel() == 0) return;
  if (data.encoding == Encoding::row_codes) {
    const int top = (1 << (data.bits - 1)) - 1;
    const auto* codes = data.codes.const_data_ptr<std::int8_t>();
    const auto [low, high] = range_of({codes, static_cast<std::size_t>(data.codes.numel())});
    CADDIE_CHECK(low >= -top && high <= top, ErrorKind::data, "the tensor '", tensor.name, "' has codes from ", low,
                 " to ", high, ", ", data.bits, " bits hold -", top, " to ", top);
  }
  for (const Part part : kParts)
    if (const auto& values = part_of(data, part); values.defined() && values.is_floating_point())
      CADDIE_CHECK(values.isfinite().all().item<bool>(), ErrorKind::data, "the tensor '", tensor.name,
                   "' has values that are not finite");
}

Json parse_json(const std::string& text, const char* what) {
  try {
    auto value = Json::parse(text, [](int depth, Json::parse_event_t, Json&) {
      CADDIE_CHECK(depth <= kMaxJsonDepth, ErrorKind::data, "the artifact's header has JSON nested deeper than ",
                   kMaxJsonDepth, " levels");
      return true;
    });
    CADDIE_CHECK(value.is_object(), ErrorKind::data, "the artifact's ", what, " section is not a JSON object");
    return value;
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::data, concat("the artifact's ", what, " section is not JSON: ", error.what()));
  }
}

void check_compress_section(const Json& section) {
  const auto use = section.find("use");
  const bool good = use != section.end() && use->is_string() && !use->get_ref<const std::string&>().empty() &&
                    use->get_ref<const std::string&>().size() <= 64 &&
                    use->get_ref<const std::string&>().find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") ==
                        std::string::npos;
  CADDIE_CHECK(good, ErrorKind::data, "the artifact does not name its compressor");
}

struct Parsed {
  ArtifactHeader header;
  Layout layout;
  std::vector<std::uint32_t> checksums;
  std::span<const std::byte> payload;
};

Parsed parse(std::span<const std::byte> file, const ReadLimits& limits) {
  CADDIE_CHECK(file.size() >= kFixed && std::equal(kMagic.begin(), kMagic.end(), file.begin(),
                                                   [](unsigned char a, std::byte b) { return std::byte{a} == b; }),
               ErrorKind::data, "this is no caddie artifact (", file.size(), " bytes, the magic number is not there)");
  ByteReader fixed(file.subspan(kMagic.size()));
  Parsed parsed;
  auto& header = parsed.header;
  header.version = fixed.number<std::uint8_t>();
  CADDIE_CHECK(header.version == kVersion, ErrorKind::data, "the artifact has version ", header.version,
               ", this program reads version ", int{kVersion});
  const auto zeros = fixed.raw(3);
  CADDIE_CHECK(std::all_of(zeros.begin(), zeros.end(), [](std::byte b) { return b == std::byte{0}; }), ErrorKind::data,
               "the artifact's header has flags that this program does not know");
  const std::uint64_t variable = fixed.number<std::uint32_t>();
  header.payload_bytes = fixed.number<std::uint64_t>();
  header.raw_bytes = fixed.number<std::uint64_t>();
  header.content_sha256 = to_hex(fixed.raw(32));
  const auto checksum = fixed.number<std::uint32_t>();
  CADDIE_CHECK(variable <= kMaxHeader && variable <= file.size() - kFixed, ErrorKind::data,
               "the artifact's header declares ", variable, " bytes, the file has ", file.size());
  header.header_bytes = kFixed + variable;
  const auto body = file.subspan(kFixed, static_cast<std::size_t>(variable));
  CADDIE_CHECK(crc32c(body, crc32c(file.first(kHashed))) == checksum, ErrorKind::data,
               "the artifact's header is damaged (CRC-32C does not match)");
  parsed.payload = file.subspan(kFixed + body.size());
  CADDIE_CHECK(parsed.payload.size() == header.payload_bytes, ErrorKind::data, "the artifact's payload is ",
               parsed.payload.size() < header.payload_bytes ? "cut short" : "followed by more", ": ",
               parsed.payload.size(), " bytes, declared are ", header.payload_bytes);
  CADDIE_CHECK(header.raw_bytes <= limits.decoded_bytes, ErrorKind::data, "the artifact declares ", header.raw_bytes,
               " decoded bytes, the limit is ", limits.decoded_bytes);

  ByteReader reader(body);
  header.compress = parse_json(reader.text(kMaxSection, "a section's length"), "compress");
  check_compress_section(header.compress);
  header.about = parse_json(reader.text(kMaxAbout, "a section's length"), "about");
  parsed.layout = read_layout(reader, limits.decoded_bytes);
  std::uint64_t raw = 0;
  for (const auto& place : blob_places(parsed.layout)) {
    parsed.checksums.push_back(reader.number<std::uint32_t>());
    raw += place.shape.bytes();
  }
  CADDIE_CHECK(reader.left() == 0, ErrorKind::data, "the artifact's header has ", reader.left(), " bytes too many");
  CADDIE_CHECK(raw == header.raw_bytes, ErrorKind::data, "the artifact declares ", header.raw_bytes,
               " decoded bytes, its tensors have ", raw);
  return parsed;
}

at::ScalarType scalar_type(ElementType type) {
  switch (type) {
    case ElementType::int8:
      return at::kChar;
    case ElementType::float16:
      return at::kHalf;
    case ElementType::bfloat16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

void allocate(std::vector<StoredTensor>& tensors, std::span<const BlobPlace> places) {
  try {
    for (const auto& place : places) {
      auto& tensor = tensors[place.tensor];
      // Uninitialised: pages are touched only as the compressor fills them.
      const auto& shape = place.shape;
      const bool vector = place.part != Part::codes && shape.columns == 1 && place.part != Part::low_rank_left &&
                          place.part != Part::low_rank_right;
      auto sizes = place.part == Part::codes ? tensor.shape : std::vector<std::int64_t>{shape.rows, shape.columns};
      if (vector) sizes.pop_back();
      part_of(tensor.data, place.part) = at::empty(sizes, scalar_type(shape.type));
    }
  } catch (const c10::Error&) {
    throw Error(ErrorKind::data, "there is not enough memory for the artifact's tensors");
  }
}

template <class Function>
auto with_context(const std::filesystem::path& path, Function function) {
  try {
    return function();
  } catch (Error& error) {
    throw error.add_context("artifact " + path.string());
  }
}

}  // namespace

std::vector<std::byte> encode_artifact(std::span<const StoredTensor> tensors, const Json& about, const Json& compress,
                                       Compressor& compressor) {
  check_compress_section(compress);
  CADDIE_CHECK(about.is_object(), ErrorKind::failed, "what an artifact says about itself must be a JSON object");
  const auto layout = make_layout(tensors);
  std::vector<StoredTensor> ordered;
  for (const auto index : layout.order) {
    ordered.push_back(tensors[index]);
    for (const Part part : kParts)
      if (auto& values = part_of(ordered.back().data, part); values.defined())
        values = values.to(at::kCPU).contiguous();
    check_values(ordered.back());
  }
  std::vector<Blob> blobs;
  std::uint64_t raw = 0;
  for (const auto& place : blob_places(layout)) {
    blobs.push_back({place.shape, bytes_of(part_of(ordered[place.tensor].data, place.part))});
    CADDIE_ASSERT(blobs.back().data.size() == place.shape.bytes());
    raw += place.shape.bytes();
  }

  ByteWriter header;
  const auto compress_text = canonical(compress), about_text = canonical(about);
  CADDIE_CHECK(compress_text.size() <= kMaxSection && about_text.size() <= kMaxAbout, ErrorKind::data,
               "the artifact's description is too long: ", about_text.size(), " bytes, at most ", kMaxAbout);
  header.text(compress_text);
  header.text(about_text);
  write_layout(layout, header);
  for (const auto& blob : blobs) header.number(crc32c(blob.data));
  CADDIE_CHECK(header.bytes().size() <= kMaxHeader, ErrorKind::data, "the artifact's header would have ",
               header.bytes().size(), " bytes, at most ", kMaxHeader, " are accepted");
  const auto payload = compressor.compress(ArrangedBlobs(blobs, Arrangement::from_json(compress)).blobs());

  ByteWriter file;
  file.raw(std::as_bytes(std::span(kMagic)));
  file.number(kVersion);
  for (int i = 0; i < 3; ++i) file.number(std::uint8_t{0});
  file.number(static_cast<std::uint32_t>(header.bytes().size()));
  file.number(static_cast<std::uint64_t>(payload.size()));
  file.number(raw);
  file.raw(from_hex(content_hash(layout, blobs)));
  CADDIE_ASSERT(file.bytes().size() == kHashed);
  file.number(crc32c(header.bytes(), crc32c(file.bytes())));
  file.raw(header.bytes());
  file.raw(payload);
  return file.bytes();
}

ArtifactHeader write_artifact(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                              const Json& about, const Json& compress, Compressor& compressor) {
  return with_context(path, [&] {
    const auto file = encode_artifact(tensors, about, compress, compressor);
    write_atomic(path, std::span<const std::byte>(file));
    return parse(file, {}).header;
  });
}

Artifact decode_artifact(std::span<const std::byte> file, const CompressorFactory& factory, const ReadLimits& limits) {
  auto parsed = parse(file, limits);
  Artifact artifact{std::move(parsed.header), empty_tensors(parsed.layout)};
  const auto compressor = factory(artifact.header.compress);
  const auto places = blob_places(parsed.layout);
  allocate(artifact.tensors, places);
  std::vector<BlobShape> shapes;
  std::vector<Blob> blobs;
  std::vector<std::span<std::byte>> outputs;
  for (const auto& place : places) {
    const auto& values = part_of(artifact.tensors[place.tensor].data, place.part);
    shapes.push_back(place.shape);
    blobs.push_back({place.shape, bytes_of(values)});
    outputs.emplace_back(static_cast<std::byte*>(values.mutable_data_ptr()), values.nbytes());
  }
  decompress_arranged(*compressor, Arrangement::from_json(artifact.header.compress), parsed.payload, shapes, outputs);
  // The hash over everything is a chain and the longest of what is left to do: beside the rest.
  auto content = std::async(std::launch::async, [&] { return content_hash(parsed.layout, blobs); });
  for (std::size_t i = 0; i < places.size(); ++i)
    CADDIE_CHECK(crc32c(blobs[i].data) == parsed.checksums[i], ErrorKind::data, "the artifact is damaged at '",
                 places[i].shape.name, "' (CRC-32C does not match)");
  for (const auto& tensor : artifact.tensors) check_values(tensor);
  CADDIE_CHECK(content.get() == artifact.header.content_sha256, ErrorKind::data,
               "the artifact is damaged (SHA-256 of its content does not match)");
  return artifact;
}

Artifact read_artifact(const std::filesystem::path& path, const CompressorFactory& factory, const ReadLimits& limits) {
  return with_context(path, [&] {
    const MappedFile file(path);
    return decode_artifact(file.bytes(), factory, limits);
  });
}

Artifact read_artifact_header(const std::filesystem::path& path, const ReadLimits& limits) {
  return with_context(path, [&] {
    const MappedFile file(path);
    auto parsed = parse(file.bytes(), limits);
    return Artifact{std::move(parsed.header), empty_tensors(parsed.layout)};
  });
}

NamedWeights decoded_weights(const Artifact& artifact) { return decode(artifact.tensors); }

}  // namespace caddie::artifact
