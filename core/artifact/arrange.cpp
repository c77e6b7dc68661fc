#include "core/artifact/arrange.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>

#include "caddie/error.h"

namespace caddie::artifact {
namespace {

constexpr std::int64_t kMaxSortedRows = 65536;  // an order is stored in 16 bits a row

bool is_codes(const BlobShape& shape) {
  return shape.type == ElementType::int8 && shape.rows > 1 && shape.columns > 1;
}
bool is_sorted(const BlobShape& shape, const Arrangement& arrangement) {
  return arrangement.rows != RowOrder::none && is_codes(shape) && shape.rows <= kMaxSortedRows;
}

BlobShape order_shape(const BlobShape& codes) { return {codes.name + ".order", ElementType::int16, codes.rows, 1}; }

using Order = std::vector<std::uint16_t>;  // place -> row

Order by_magnitude(const std::int8_t* codes, std::size_t rows, std::size_t columns) {
  std::vector<std::int64_t> size(rows, 0);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t column = 0; column < columns; ++column) size[row] += std::abs(codes[row * columns + column]);
  Order order(rows);
  std::iota(order.begin(), order.end(), std::uint16_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return size[a] < size[b]; });
  return order;
}

int distance(const std::int8_t* a, const std::int8_t* b, std::size_t columns) {
  int sum = 0;
  for (std::size_t i = 0; i < columns; ++i) sum += std::abs(a[i] - b[i]);
  return sum;
}

// Greedy: from the smallest row on, always the nearest of those that are left.
Order by_similarity(const std::int8_t* codes, std::size_t rows, std::size_t columns) {
  Order left = by_magnitude(codes, rows, columns), order;
  order.reserve(rows);
  for (std::size_t next = 0; !left.empty();) {
    order.push_back(left[next]);
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(next));
    const std::int8_t* last = codes + order.back() * columns;
    int least = std::numeric_limits<int>::max();
    next = 0;
    for (std::size_t i = 0; i < left.size(); ++i) {
      const int apart = distance(last, codes + left[i] * columns, columns);
      if (apart < least) least = apart, next = i;
    }
  }
  return order;
}

// to[column][place] or to[place][column] = from[order[place]][column].
void arrange(const std::byte* from, std::byte* to, std::size_t rows, std::size_t columns, const std::uint16_t* order,
             bool transpose) {
  for (std::size_t place = 0; place < rows; ++place) {
    const std::byte* row = from + (order ? order[place] : place) * columns;
    if (transpose)
      for (std::size_t column = 0; column < columns; ++column) to[column * rows + place] = row[column];
    else
      std::copy_n(row, columns, to + place * columns);
  }
}

void restore(const std::byte* from, std::byte* to, std::size_t rows, std::size_t columns, const std::uint16_t* order,
             bool transpose) {
  for (std::size_t place = 0; place < rows; ++place) {
    std::byte* row = to + (order ? order[place] : place) * columns;
    if (transpose)
      for (std::size_t column = 0; column < columns; ++column) row[column] = from[column * rows + place];
    else
      std::copy_n(from + place * columns, columns, row);
  }
}

void check_order(std::span<const std::uint16_t> order, const std::string& name) {
  std::vector<bool> seen(order.size(), false);
  for (const auto row : order) {
    CADDIE_CHECK(row < order.size() && !seen[row], ErrorKind::data, "the artifact's order of the rows of '", name,
                 "' is no order: row ", row, " of ", order.size());
    seen[row] = true;
  }
}

}  // namespace

Arrangement Arrangement::from_json(const Json& compress) {
  Arrangement arrangement;
  if (const auto it = compress.find("transpose"); it != compress.end()) {
    CADDIE_CHECK(it->is_boolean(), ErrorKind::data, "compress.transpose is ", it->dump(), ", accepted: true, false");
    arrangement.transpose = it->get<bool>();
  }
  if (const auto it = compress.find("sort_rows"); it != compress.end()) {
    const auto name = it->is_string() ? it->get<std::string>() : it->dump();
    CADDIE_CHECK(name == "none" || name == "magnitude" || name == "similarity", ErrorKind::data,
                 "compress.sort_rows is '", name, "', accepted: none, magnitude, similarity");
    arrangement.rows = name == "none"        ? RowOrder::none
                       : name == "magnitude" ? RowOrder::magnitude
                                             : RowOrder::similarity;
  }
  return arrangement;
}

std::vector<BlobShape> arranged_shapes(std::span<const BlobShape> shapes, const Arrangement& arrangement) {
  std::vector<BlobShape> result(shapes.begin(), shapes.end());
  if (arrangement.transpose)
    for (auto& shape : result)
      if (is_codes(shape)) std::swap(shape.rows, shape.columns);
  for (const auto& shape : shapes)
    if (is_sorted(shape, arrangement)) result.push_back(order_shape(shape));
  return result;
}

ArrangedBlobs::ArrangedBlobs(std::span<const Blob> blobs, const Arrangement& arrangement)
    : blobs_(blobs.begin(), blobs.end()) {
  if (!arrangement.any()) return;
  for (const Blob& blob : blobs) {
    const auto& shape = blob.shape;
    if (!is_codes(shape) || (!arrangement.transpose && !is_sorted(shape, arrangement))) continue;
    const auto rows = static_cast<std::size_t>(shape.rows), columns = static_cast<std::size_t>(shape.columns);
    const auto* codes = reinterpret_cast<const std::int8_t*>(blob.data.data());
    Order order;
    if (is_sorted(shape, arrangement)) {
      order = arrangement.rows == RowOrder::magnitude ? by_magnitude(codes, rows, columns)
                                                      : by_similarity(codes, rows, columns);
      const auto bytes = std::as_bytes(std::span(order));
      blobs_.push_back({order_shape(shape), storage_.emplace_back(bytes.begin(), bytes.end())});
    }
    Blob& target = blobs_[static_cast<std::size_t>(&blob - blobs.data())];
    auto& bytes = storage_.emplace_back(blob.data.size());
    arrange(blob.data.data(), bytes.data(), rows, columns, order.empty() ? nullptr : order.data(), arrangement.transpose);
    target.data = bytes;
    if (arrangement.transpose) std::swap(target.shape.rows, target.shape.columns);
  }
}

void decompress_arranged(Compressor& compressor, const Arrangement& arrangement, std::span<const std::byte> payload,
                         std::span<const BlobShape> shapes, std::span<const std::span<std::byte>> outputs) {
  if (!arrangement.any()) return compressor.decompress(payload, shapes, outputs);
  const auto arranged = arranged_shapes(shapes, arrangement);
  std::vector<std::unique_ptr<std::byte[]>> storage;  // not vectors: touched only as far as the payload really decodes
  std::vector<std::span<std::byte>> spans(outputs.begin(), outputs.end());
  const auto room = [&](const BlobShape& shape) -> std::span<std::byte> {
    return {storage.emplace_back(std::make_unique_for_overwrite<std::byte[]>(shape.bytes())).get(), shape.bytes()};
  };
  for (std::size_t i = 0; i < shapes.size(); ++i)
    if (is_codes(shapes[i])) spans[i] = room(shapes[i]);
  for (std::size_t i = shapes.size(); i < arranged.size(); ++i) spans.push_back(room(arranged[i]));
  compressor.decompress(payload, arranged, spans);
  std::size_t next_order = shapes.size();
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (!is_codes(shapes[i])) continue;
    Order order;
    if (is_sorted(shapes[i], arrangement)) {
      order.resize(static_cast<std::size_t>(shapes[i].rows));
      std::memcpy(order.data(), spans[next_order++].data(), order.size() * sizeof(order[0]));
      check_order(order, shapes[i].name);
    }
    restore(spans[i].data(), outputs[i].data(), static_cast<std::size_t>(shapes[i].rows),
            static_cast<std::size_t>(shapes[i].columns), order.empty() ? nullptr : order.data(), arrangement.transpose);
  }
}

}  // namespace caddie::artifact
