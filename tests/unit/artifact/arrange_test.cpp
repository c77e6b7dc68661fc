#include "core/artifact/arrange.h"

#include <algorithm>
#include <cstring>

#include "caddie/services.h"
#include "core/artifact/container.h"
#include "tests/support/catch.h"
#include "tests/unit/artifact/fakes.h"

using namespace caddie;
using namespace caddie::artifact;

namespace {

std::vector<std::byte> codes(std::int64_t rows, std::int64_t columns) {
  Random random(3, concat(rows, "x", columns));
  std::vector<std::byte> bytes;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto spread = 1 + random.below(9);  // rows of different sizes
    for (std::int64_t column = 0; column < columns; ++column)
      bytes.push_back(static_cast<std::byte>(static_cast<int>(random.below(2 * spread + 1)) - static_cast<int>(spread)));
  }
  return bytes;
}

struct Sample {
  std::vector<std::vector<std::byte>> data{codes(12, 7), codes(1, 5), codes(5, 4), codes(12, 2), codes(9, 1)};
  std::vector<Blob> blobs{{{"a.codes", ElementType::int8, 12, 7}, data[0]},
                          {{"row.codes", ElementType::int8, 1, 5}, data[1]},
                          {{"b.codes", ElementType::int8, 5, 4}, data[2]},
                          {{"a.steps", ElementType::float16, 12, 1}, data[3]},
                          {{"column.codes", ElementType::int8, 9, 1}, data[4]}};
  std::vector<BlobShape> shapes() const {
    std::vector<BlobShape> list;
    for (const auto& blob : blobs) list.push_back(blob.shape);
    return list;
  }
};

std::vector<std::vector<std::byte>> back(const Sample& sample, const Arrangement& arrangement,
                                         std::vector<std::byte> payload) {
  std::vector<std::vector<std::byte>> results;
  for (const auto& blob : sample.blobs) results.emplace_back(blob.data.size());
  std::vector<std::span<std::byte>> outputs(results.begin(), results.end());
  fakes::XorCompressor compressor;
  decompress_arranged(compressor, arrangement, payload, sample.shapes(), outputs);
  return results;
}

}  // namespace

TEST_CASE("every arrangement is undone") {
  const Sample sample;
  for (const bool transpose : {false, true})
    for (const auto rows : {RowOrder::none, RowOrder::magnitude, RowOrder::similarity}) {
      INFO("transpose " << transpose << ", order " << static_cast<int>(rows));
      const Arrangement arrangement{transpose, rows};
      const ArrangedBlobs arranged(sample.blobs, arrangement);
      const auto shapes = arranged_shapes(sample.shapes(), arrangement);
      REQUIRE(arranged.blobs().size() == shapes.size());
      CHECK(shapes.size() == (rows == RowOrder::none ? 5 : 7));
      for (std::size_t i = 0; i < shapes.size(); ++i) {
        CHECK(arranged.blobs()[i].shape.name == shapes[i].name);
        CHECK(arranged.blobs()[i].shape.rows == shapes[i].rows);
        CHECK(arranged.blobs()[i].data.size() == shapes[i].bytes());
      }
      CHECK(shapes[0].rows == (transpose ? 7 : 12));
      fakes::XorCompressor compressor;
      CHECK((back(sample, arrangement, compressor.compress(arranged.blobs())) == sample.data));
    }
}

TEST_CASE("transposed is column by column, sorted is by size") {
  const Sample sample;
  const ArrangedBlobs turned(sample.blobs, {true, RowOrder::none});
  for (std::size_t row = 0; row < 12; ++row)
    for (std::size_t column = 0; column < 7; ++column)
      CHECK((turned.blobs()[0].data[column * 12 + row] == sample.data[0][row * 7 + column]));
  const ArrangedBlobs sorted(sample.blobs, {false, RowOrder::magnitude});
  std::vector<int> sizes;
  for (std::size_t row = 0; row < 12; ++row) {
    int size = 0;
    for (std::size_t c = 0; c < 7; ++c) size += std::abs(static_cast<signed char>(sorted.blobs()[0].data[row * 7 + c]));
    sizes.push_back(size);
  }
  CHECK(std::is_sorted(sizes.begin(), sizes.end()));
}

TEST_CASE("similar rows come to lie side by side") {
  // Rows of two kinds, mixed up.
  std::vector<std::byte> rows;
  for (const int kind : {3, -5, 3, 3, -5, -5, 3, -5}) rows.insert(rows.end(), 6, static_cast<std::byte>(kind));
  const Blob blob{{"w.codes", ElementType::int8, 8, 6}, rows};
  const ArrangedBlobs arranged(std::span(&blob, 1), {false, RowOrder::similarity});
  int changes = 0;
  for (std::size_t row = 1; row < 8; ++row)
    changes += arranged.blobs()[0].data[row * 6] != arranged.blobs()[0].data[row * 6 - 1];
  CHECK(changes == 1);
}

TEST_CASE("an order that is none is refused, and so are settings that are not known") {
  const Sample sample;
  const Arrangement arrangement{false, RowOrder::magnitude};
  const ArrangedBlobs arranged(sample.blobs, arrangement);
  fakes::XorCompressor compressor;
  const auto payload = compressor.compress(arranged.blobs());
  for (const int value : {0, 1, 12, 65535}) {  // twice the same row, or none of the rows
    auto hostile = payload;
    const std::uint16_t row = static_cast<std::uint16_t>(value);
    const std::size_t order = payload.size() - 2 * (12 + 5);
    std::byte both[4];
    std::memcpy(both, &row, 2);
    std::memcpy(both + 2, &row, 2);
    for (std::size_t i = 0; i < 4; ++i) hostile[order + i] = both[i] ^ std::byte{0x5a};
    CHECK_THROWS_WITH(back(sample, arrangement, hostile), Catch::Contains("is no order"));
  }
  CHECK_THROWS_AS(Arrangement::from_json({{"transpose", 3}}), Error);
  CHECK_THROWS_AS(Arrangement::from_json({{"sort_rows", "up"}}), Error);
  CHECK_FALSE(Arrangement::from_json({{"use", "xor"}}).any());
}

TEST_CASE("an artifact says how its codes are arranged, and its content's hash is that of the tensors") {
  const std::vector<StoredTensor> tensors{fakes::coded("blocks.0.w", 20, 12, 5), fakes::coded("blocks.1.w", 20, 12, 5),
                                          fakes::plain("gain", {4}, at::kFloat)};
  fakes::XorCompressor compressor;
  const auto plain = decode_artifact(encode_artifact(tensors, Json::object(), fakes::kXorSection, compressor),
                                     fakes::xor_factory());
  for (const char* order : {"none", "magnitude", "similarity"}) {
    Json section = fakes::kXorSection;
    section["transpose"] = true;
    section["sort_rows"] = order;
    const auto artifact =
        decode_artifact(encode_artifact(tensors, Json::object(), section, compressor), fakes::xor_factory());
    CHECK(artifact.header.content_sha256 == plain.header.content_sha256);
    CHECK(weights_hash(decoded_weights(artifact)) == weights_hash(decode(tensors)));
  }
}
