// Records of tensors: made from names by finding layer numbers, written, read back with every field checked.
#include "core/artifact/layout.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "caddie/error.h"

namespace caddie::artifact {
namespace {

constexpr std::size_t kMaxName = 255;
constexpr std::int64_t kMaxLowRank = 65535;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void check_name(const std::string& name) {
  const bool good = !name.empty() && name.size() <= kMaxName && std::all_of(name.begin(), name.end(), [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-' ||
           c == '/';
  });
  CADDIE_CHECK(good, ErrorKind::data, "a tensor's name is not accepted (", name.size(),
               " bytes; accepted: 1 to 255 letters, digits and _ . - /)");
}

// Splits off the first whole component that is a number: "blocks.3.mlp" -> ("blocks.{}.mlp", 3). False if there is
// none.
bool split_layer(const std::string& name, std::string& pattern, std::uint64_t& layer) {
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const auto part = std::string_view(name).substr(begin, end - begin);
    const bool number = !part.empty() && part.size() <= 5 && std::all_of(part.begin(), part.end(), is_digit) &&
                        (part.size() == 1 || part[0] != '0');
    if (number && std::stoull(std::string(part)) < kMaxTensors) {
      layer = std::stoull(std::string(part));
      pattern = name.substr(0, begin) + "{}" + name.substr(end);
      return pattern.size() <= kMaxName;
    }
    begin = end + 1;
  }
  return false;
}

ElementType element_type(at::ScalarType type, const std::string& name) {
  switch (type) {
    case at::kHalf:
      return ElementType::float16;
    case at::kBFloat16:
      return ElementType::bfloat16;
    case at::kFloat:
      return ElementType::float32;
    default:
      throw Error(ErrorKind::data, concat("the tensor '", name, "' has the type ", at::toString(type),
                                          ", plain values are float16, bfloat16 or float32"));
  }
}

// Groups of a row's steps as QuantizedTensor has them: none is empty.
bool good_groups(std::int64_t groups, std::int64_t columns) {
  if (groups == 1) return true;
  if (groups < 1 || groups > columns) return false;
  const auto width = (columns + groups - 1) / groups;
  return (columns + width - 1) / width == groups;
}

void describe_codes(const StoredTensor& tensor, Record& record) {
  const auto& data = tensor.data;
  record.bits = data.bits;
  record.type = ElementType::int8;
  const auto& steps = data.steps;
  const bool fits = tensor.shape.size() == 2 && data.codes.scalar_type() == at::kChar &&
                    data.codes.sizes() == tensor.shape && steps.defined() && steps.scalar_type() == at::kHalf &&
                    (steps.dim() == 1 || steps.dim() == 2) && steps.size(0) == tensor.shape[0] && data.bits >= 2 &&
                    data.bits <= 8;
  CADDIE_CHECK(fits, ErrorKind::data, "the codes of '", tensor.name,
               "' are not int8 [rows, columns] with float16 steps [rows] or [rows, groups]");
  record.groups = steps.dim() == 2 ? steps.size(1) : 1;
  CADDIE_CHECK(good_groups(record.groups, tensor.shape[1]), ErrorKind::data, "the rows of '", tensor.name, "' have ",
               record.groups, " steps for ", tensor.shape[1], " columns");
  const auto& extra = data.low_rank;
  if (!extra.left.defined()) return;
  record.rank = extra.left.size(0);
  record.rank_int8 = extra.left.scalar_type() == at::kChar;
  const auto factor = [&](const at::Tensor& values, const at::Tensor& factor_steps, std::int64_t size) {
    return values.defined() && values.sizes() == at::IntArrayRef({record.rank, size}) &&
           values.scalar_type() == (record.rank_int8 ? at::kChar : at::kHalf) &&
           factor_steps.defined() == record.rank_int8 &&
           (!record.rank_int8 ||
            (factor_steps.scalar_type() == at::kHalf && factor_steps.sizes() == at::IntArrayRef({record.rank})));
  };
  CADDIE_CHECK(record.rank >= 1 && record.rank <= kMaxLowRank && factor(extra.left, extra.left_steps, tensor.shape[0]) &&
                   factor(extra.right, extra.right_steps, tensor.shape[1]),
               ErrorKind::data, "the low-rank part of '", tensor.name,
               "' is not [rank, rows] and [rank, columns], float16 or int8 with float16 steps");
}

Record describe(const StoredTensor& tensor) {
  const auto& data = tensor.data;
  Record record;
  record.role = tensor.role;
  record.encoding = data.encoding;
  record.round_bfloat16 = data.round_bfloat16;
  record.shape = tensor.shape;
  if (data.encoding == Encoding::row_codes) {
    describe_codes(tensor, record);
  } else {
    record.type = element_type(data.codes.scalar_type(), tensor.name);
    CADDIE_CHECK(data.codes.sizes() == tensor.shape, ErrorKind::data, "the values of '", tensor.name, "' are ",
                 data.codes.sizes(), ", its shape says otherwise");
  }
  CADDIE_CHECK(tensor.shape.size() <= kMaxRank, ErrorKind::data, "the tensor '", tensor.name, "' has ",
               tensor.shape.size(), " dimensions, at most ", kMaxRank, " are accepted");
  return record;
}

auto key(const Record& r) {
  return std::tie(r.name, r.role, r.encoding, r.round_bfloat16, r.bits, r.type, r.shape, r.groups, r.rank, r.rank_int8);
}

// Codes with one step a row and nothing else need no more than their bits; all others have a second byte of flags, at the
// record's end, and numbers.
bool extended(const Record& r) { return r.encoding == Encoding::row_codes && (r.groups != 1 || r.rank > 0); }
constexpr unsigned kExtended = 7;

// From the lowest bit: plain, layered, rounded to bfloat16 (1 bit each), role (2), type of the values, bits - 2, or
// kExtended (3).
std::uint8_t flags(const Record& r) {
  const unsigned kind = extended(r)                             ? kExtended
                        : r.encoding == Encoding::row_codes ? static_cast<unsigned>(r.bits - 2)
                                                            : static_cast<unsigned>(r.type);
  return static_cast<std::uint8_t>((r.encoding == Encoding::plain ? 1u : 0u) | (r.layers ? 2u : 0u) |
                                   (r.round_bfloat16 ? 4u : 0u) | static_cast<unsigned>(r.role) << 3 | kind << 5);
}

// bits - 2 (3 bits), the low-rank factors are int8; then the steps of a row and the rank.
void write_extension(const Record& r, ByteWriter& writer) {
  writer.number(static_cast<std::uint8_t>(static_cast<unsigned>(r.bits - 2) | (r.rank_int8 ? 8u : 0u)));
  writer.varint(static_cast<std::uint64_t>(r.groups));
  writer.varint(static_cast<std::uint64_t>(r.rank));
}

void read_extension(ByteReader& reader, Record& record) {
  const unsigned byte = reader.number<std::uint8_t>();
  record.bits = static_cast<int>(byte & 7) + 2;
  record.rank_int8 = byte & 8;
  CADDIE_CHECK(byte < 16 && record.bits <= 8, ErrorKind::data, "the artifact has codes of an unknown kind (", byte, ")");
  record.groups = static_cast<std::int64_t>(reader.varint(kMaxDimension, "a number of steps"));
  record.rank = static_cast<std::int64_t>(reader.varint(kMaxLowRank, "a rank"));
  CADDIE_CHECK(good_groups(record.groups, record.shape[1]) && extended(record) && (record.rank > 0 || !record.rank_int8),
               ErrorKind::data, "the artifact has a tensor '", record.name, "' of ", record.shape[1], " columns with ",
               record.groups, " steps a row and a low-rank part of rank ", record.rank);
}

Record read_record(ByteReader& reader) {
  Record record;
  const auto bits = reader.number<std::uint8_t>();
  record.encoding = bits & 1 ? Encoding::plain : Encoding::row_codes;
  record.round_bfloat16 = bits & 4;
  const unsigned role = bits >> 3 & 3, kind = bits >> 5;
  CADDIE_CHECK(role <= static_cast<unsigned>(Role::vector), ErrorKind::data,
               "the artifact has a tensor of the unknown role ", role);
  record.role = static_cast<Role>(role);
  if (record.encoding == Encoding::row_codes) {
    record.type = ElementType::int8;
    record.bits = static_cast<int>(kind) + 2;  // an extension says its own
  } else {
    CADDIE_CHECK(
        kind >= static_cast<unsigned>(ElementType::float16) && kind <= static_cast<unsigned>(ElementType::float32),
        ErrorKind::data, "the artifact has values of the unknown type ", kind);
    record.type = static_cast<ElementType>(kind);
  }
  record.name = reader.text(kMaxName, "a name's length");
  if (bits & 2) {
    record.first_layer = reader.varint(kMaxTensors - 1, "a first layer");
    record.layers = reader.varint(kMaxTensors - record.first_layer, "a number of layers");
    CADDIE_CHECK(record.layers > 0, ErrorKind::data, "the artifact has a record of no layers");
    const auto slot = record.name.find("{}");
    CADDIE_CHECK(slot != std::string::npos, ErrorKind::data,
                 "the artifact has a record of layers without a place for them");
  }
  const auto rank = reader.varint(kMaxRank, "a number of dimensions");
  CADDIE_CHECK(record.encoding == Encoding::plain || rank == 2, ErrorKind::data, "the artifact has codes of ", rank,
               " dimensions");
  for (std::uint64_t i = 0; i < rank; ++i)
    record.shape.push_back(static_cast<std::int64_t>(reader.varint(kMaxDimension, "a dimension")));
  if (record.encoding == Encoding::row_codes && kind == kExtended) read_extension(reader, record);
  return record;
}

// Adds the bytes of a record's tensors; a total beyond the limit is an error, and nothing overflows on the way.
void add_bytes(const Record& record, std::uint64_t limit, std::uint64_t& total) {
  limit = std::min(limit, std::uint64_t{1} << 44);  // then 65,536 tensors of that many bytes still fit into 64 bits
  std::uint64_t extent = 1, elements = 1;  // extent: as if no dimension were 0, so that no part of it overflows
  for (const auto dimension : record.shape) {
    const auto size = static_cast<std::uint64_t>(dimension);
    CADDIE_CHECK(size <= limit / extent, ErrorKind::data, "the artifact's tensor '", record.name,
                 "' is larger than the limit of ", limit, " bytes");
    extent *= std::max<std::uint64_t>(size, 1);
    elements *= size;
  }
  auto bytes = elements * element_bytes(record.type);
  if (record.encoding == Encoding::row_codes) {  // groups, rows and columns are below 2^31, the rank below 2^16
    const auto rows = static_cast<std::uint64_t>(record.shape[0]), columns = static_cast<std::uint64_t>(record.shape[1]);
    const auto rank = static_cast<std::uint64_t>(record.rank);
    bytes += rows * static_cast<std::uint64_t>(record.groups) * 2;
    bytes += rank * (record.rank_int8 ? rows + columns + 4 : 2 * (rows + columns));
  }
  CADDIE_CHECK(bytes <= limit && total + bytes * record.tensors() <= limit, ErrorKind::data,
               "the artifact declares more than ", limit, " decoded bytes");
  total += bytes * record.tensors();
}

}  // namespace

std::string Record::tensor_name(std::uint64_t index) const {
  if (layers == 0) return name;
  std::string result = name;
  return result.replace(result.find("{}"), 2, std::to_string(first_layer + index));
}

Layout make_layout(std::span<const StoredTensor> tensors) {
  CADDIE_CHECK(tensors.size() <= kMaxTensors, ErrorKind::data, "an artifact holds at most ", kMaxTensors,
               " tensors, not ", tensors.size());
  struct Item {
    Record record;
    std::uint64_t layer;
    std::size_t tensor;
  };
  // Templates in the order of their first tensor; layers ascending.
  std::vector<std::vector<Item>> groups;
  std::map<std::string, std::size_t> group_of;
  std::set<std::string> names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& name = tensors[i].name;
    check_name(name);
    CADDIE_CHECK(names.insert(name).second, ErrorKind::data, "two tensors have the name '", name, "'");
    Item item{describe(tensors[i]), 0, i};
    item.record.name = name;
    item.record.layers = split_layer(name, item.record.name, item.layer) ? 1 : 0;
    if (!item.record.layers) item.record.name = name;
    const auto [place, fresh] = group_of.try_emplace(item.record.name, groups.size());
    if (fresh) groups.emplace_back();
    groups[place->second].push_back(std::move(item));
  }
  Layout layout;
  for (auto& group : groups) {
    std::stable_sort(group.begin(), group.end(), [](const Item& a, const Item& b) { return a.layer < b.layer; });
    const Record* last = nullptr;
    for (auto& item : group) {
      layout.order.push_back(item.tensor);
      if (last && last->layers && key(*last) == key(item.record) && last->first_layer + last->layers == item.layer) {
        ++layout.records.back().layers;
      } else {
        item.record.first_layer = item.layer;
        layout.records.push_back(std::move(item.record));
      }
      last = &layout.records.back();
    }
  }
  return layout;
}

void write_layout(const Layout& layout, ByteWriter& writer) {
  writer.varint(layout.records.size());
  for (const auto& record : layout.records) {
    writer.number(flags(record));
    writer.text(record.name);
    if (record.layers) {
      writer.varint(record.first_layer);
      writer.varint(record.layers);
    }
    writer.varint(record.shape.size());
    for (const auto size : record.shape) writer.varint(static_cast<std::uint64_t>(size));
    if (extended(record)) write_extension(record, writer);
  }
}

Layout read_layout(ByteReader& reader, std::uint64_t decoded_limit) {
  Layout layout;
  const auto count = reader.varint(kMaxTensors, "a number of records");
  std::uint64_t tensors = 0, bytes = 0;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto record = read_record(reader);
    tensors += record.tensors();
    CADDIE_CHECK(tensors <= kMaxTensors, ErrorKind::data, "the artifact has more than ", kMaxTensors, " tensors");
    for (std::uint64_t k = 0; k < record.tensors(); ++k) {
      const auto name = record.tensor_name(k);
      check_name(name);
      CADDIE_CHECK(names.insert(name).second, ErrorKind::data, "the artifact has two tensors '", name, "'");
    }
    add_bytes(record, decoded_limit, bytes);
    layout.records.push_back(std::move(record));
  }
  return layout;
}

std::vector<StoredTensor> empty_tensors(const Layout& layout) {
  std::vector<StoredTensor> tensors;
  for (const auto& record : layout.records)
    for (std::uint64_t i = 0; i < record.tensors(); ++i) {
      StoredTensor tensor;
      tensor.name = record.tensor_name(i);
      tensor.shape = record.shape;
      tensor.role = record.role;
      tensor.data.encoding = record.encoding;
      tensor.data.bits = record.bits;
      tensor.data.round_bfloat16 = record.round_bfloat16;
      tensors.push_back(std::move(tensor));
    }
  return tensors;
}

std::vector<BlobPlace> blob_places(const Layout& layout) {
  // 0 codes, 1 steps, 2 low-rank factors, 3 their steps, 4.. values by type.
  std::array<std::vector<BlobPlace>, 7> parts;
  std::size_t tensor = 0;
  for (const auto& record : layout.records)
    for (std::uint64_t i = 0; i < record.tensors(); ++i, ++tensor) {
      const auto name = record.tensor_name(i);
      const std::int64_t rows = record.shape.empty() ? 1 : record.shape[0];
      std::int64_t columns = 1;
      for (std::size_t d = 1; d < record.shape.size(); ++d) columns *= record.shape[d];
      const auto add = [&](std::size_t where, Part part, ElementType type, std::int64_t r, std::int64_t c) {
        const bool value = record.encoding == Encoding::plain;
        parts[where].push_back({tensor, part, {value ? name : concat(name, ".", part_name(part)), type, r, c}});
      };
      if (record.encoding == Encoding::plain) {
        add(4 + static_cast<std::size_t>(record.type) - static_cast<std::size_t>(ElementType::float16), Part::codes,
            record.type, rows, columns);
        continue;
      }
      add(0, Part::codes, ElementType::int8, rows, columns);
      add(1, Part::steps, ElementType::float16, rows, record.groups);
      if (record.rank == 0) continue;
      const auto type = record.rank_int8 ? ElementType::int8 : ElementType::float16;
      add(2, Part::low_rank_left, type, record.rank, rows);
      add(2, Part::low_rank_right, type, record.rank, columns);
      if (!record.rank_int8) continue;
      add(3, Part::low_rank_left_steps, ElementType::float16, record.rank, 1);
      add(3, Part::low_rank_right_steps, ElementType::float16, record.rank, 1);
    }
  std::vector<BlobPlace> places;
  for (auto& part : parts) std::move(part.begin(), part.end(), std::back_inserter(places));
  return places;
}

}  // namespace caddie::artifact
