#include "core/base/safetensors.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <span>

#include "caddie/error.h"

namespace caddie {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaximumHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kMaximumDimensions = 32;
constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr std::array kTypes = {
    TypeName{"F64", at::kDouble}, TypeName{"F32", at::kFloat}, TypeName{"F16", at::kHalf},
    TypeName{"BF16", at::kBFloat16}, TypeName{"I64", at::kLong}, TypeName{"I32", at::kInt},
    TypeName{"I16", at::kShort}, TypeName{"I8", at::kChar}, TypeName{"U8", at::kByte}};

std::string accepted_types() {
  std::string text;
  for (const auto& type : kTypes) text += concat(text.empty() ? "" : " ", type.name);
  return text;
}

const char* type_name(const std::string& tensor, at::ScalarType type) {
  for (const auto& known : kTypes)
    if (known.type == type) return known.name;
  throw Error(ErrorKind::failed, concat("tensor ", tensor, " has type ", c10::toString(type),
                                        ", which a safetensors file does not take here; accepted: ", accepted_types()));
}

std::size_t type_bytes(at::ScalarType type) { return c10::elementSize(type); }

// Parses with duplicate names refused (the parser alone keeps the last one).
Json parse_header(std::string_view text) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&keys](int depth, Json::parse_event_t event, Json& value) {
    if (depth > 4) throw Error(ErrorKind::data, "it is nested too deeply");
    if (event == Json::parse_event_t::object_start) keys.resize(static_cast<std::size_t>(depth) + 1);
    if (event == Json::parse_event_t::object_start) keys.back().clear();
    if (event == Json::parse_event_t::key &&
        !keys.at(static_cast<std::size_t>(depth) - 1).insert(value.get<std::string>()).second)
      throw Error(ErrorKind::data, concat("it names '", value.get<std::string>(), "' twice"));
    return true;
  };
  return Json::parse(text, watch);
}

bool is_size(const Json& value) { return value.is_number_unsigned(); }

}  // namespace

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path) : path_(path), file_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < kLengthBytes) refuse(concat("it has ", bytes.size(), " bytes, less than a header's length needs"));
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaximumHeaderBytes)
    refuse(concat("its header claims ", header_bytes, " bytes, at most ", kMaximumHeaderBytes, " are accepted"));
  if (header_bytes > bytes.size() - kLengthBytes)
    refuse(concat("its header claims ", header_bytes, " bytes, the file has ", bytes.size()));
  data_start_ = kLengthBytes + header_bytes;

  Json header;
  try {
    header = parse_header({reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes});
  } catch (const Json::exception& error) {
    refuse(concat("its header is not valid JSON: ", error.what()));
  } catch (const Error& error) {
    refuse(concat("its header is not accepted: ", error.message()));
  }
  if (!header.is_object()) refuse("its header is not a JSON object");
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey) {
      if (!value.is_object()) refuse("its metadata is not an object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) refuse(concat("metadata '", key, "' is not text"));
        metadata_.emplace(key, text.get<std::string>());
      }
    } else {
      entries_.emplace(name, parse_entry(name, value));
    }
  }
  check_layout(bytes.size() - data_start_);
}

SafetensorsReader::~SafetensorsReader() = default;

void SafetensorsReader::refuse(const std::string& why) const {
  throw Error(ErrorKind::data, concat(path_.string(), " is not a safetensors file that can be read: ", why),
              "The file is damaged or was written by something else; make it again.");
}

SafetensorsReader::Entry SafetensorsReader::parse_entry(const std::string& name, const Json& value) const {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets"))
    refuse(concat("tensor '", name, "' is not described by exactly dtype, shape and data_offsets"));
  Entry entry{};
  const Json& type = value["dtype"];
  const auto known = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const TypeName& t) { return type.is_string() && type == t.name; });
  if (known == kTypes.end())
    refuse(concat("tensor '", name, "' has dtype ", type.dump(), "; accepted: ", accepted_types()));
  entry.type = known->type;

  const Json& shape = value["shape"];
  if (!shape.is_array() || shape.size() > kMaximumDimensions || !std::all_of(shape.begin(), shape.end(), is_size))
    refuse(concat("tensor '", name, "' has shape ", shape.dump(), ", not a list of at most ", kMaximumDimensions,
                  " sizes"));
  // Zero dimensions do not hide an overflow: the product of the others is checked too.
  constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / 8;
  std::uint64_t product = 1;
  bool empty = false;
  for (const Json& size : shape) {
    const auto n = size.get<std::uint64_t>();
    empty = empty || n == 0;
    if (n > 0 && product > limit / n) refuse(concat("tensor '", name, "' has the impossible shape ", shape.dump()));
    product *= std::max<std::uint64_t>(n, 1);
    entry.shape.push_back(static_cast<std::int64_t>(n));
  }
  const std::uint64_t needed = empty ? 0 : product * type_bytes(entry.type);

  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !is_size(offsets[0]) || !is_size(offsets[1]))
    refuse(concat("tensor '", name, "' has data_offsets ", offsets.dump(), ", not two numbers of bytes"));
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.end < entry.begin || entry.end - entry.begin != needed)
    refuse(concat("tensor '", name, "' (", known->name, " ", shape.dump(), ") needs ", needed,
                  " bytes, its data_offsets are ", offsets.dump()));
  return entry;
}

void SafetensorsReader::check_layout(std::uint64_t data_bytes) {
  for (const auto& [name, unused] : entries_) names_.push_back(name);
  std::sort(names_.begin(), names_.end(), [this](const std::string& a, const std::string& b) {
    const Entry &x = entries_.find(a)->second, &y = entries_.find(b)->second;
    return std::tie(x.begin, x.end, a) < std::tie(y.begin, y.end, b);
  });
  std::uint64_t next = 0;
  for (const auto& name : names_) {
    const Entry& item = entries_.find(name)->second;
    if (item.end > data_bytes)
      refuse(concat("tensor '", name, "' ends at byte ", item.end, " of the data, the file has ", data_bytes,
                    " (cut short?)"));
    if (item.begin != next)
      refuse(concat("tensor '", name, "' begins at byte ", item.begin, " of the data, ",
                    item.begin < next ? "inside" : "with a gap after", " the tensor that ends at ", next));
    next = item.end;
  }
  if (next != data_bytes) refuse(concat(data_bytes - next, " bytes after the last tensor belong to none"));
}

const SafetensorsReader::Entry& SafetensorsReader::entry(std::string_view name) const {
  const auto found = entries_.find(name);
  CADDIE_CHECK(found != entries_.end(), ErrorKind::data, path_.string(), " has no tensor '", name, "'; it has ",
               entries_.size(), " others");
  return found->second;
}

bool SafetensorsReader::has(std::string_view name) const { return entries_.find(name) != entries_.end(); }
at::ScalarType SafetensorsReader::type(std::string_view name) const { return entry(name).type; }
const std::vector<std::int64_t>& SafetensorsReader::shape(std::string_view name) const { return entry(name).shape; }

at::Tensor SafetensorsReader::tensor(std::string_view name) const {
  const Entry& item = entry(name);
  at::Tensor value = at::empty(item.shape, at::TensorOptions().dtype(item.type));
  if (item.end > item.begin)
    std::memcpy(value.mutable_data_ptr(), file_.bytes().data() + data_start_ + item.begin, item.end - item.begin);
  return value;
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensors::value_type*> order;
  for (const auto& item : tensors) {
    CADDIE_CHECK(item.second.defined(), ErrorKind::failed, "tensor '", item.first, "' is not defined");
    CADDIE_CHECK(item.first != kMetadataKey, ErrorKind::failed, "no tensor can be named ", kMetadataKey);
    order.push_back(&item);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const auto x = type_bytes(a->second.scalar_type()), y = type_bytes(b->second.scalar_type());
    return x != y ? x > y : a->first < b->first;
  });

  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::uint64_t next = 0;
  for (const auto* item : order) {
    CADDIE_CHECK(!header.contains(item->first), ErrorKind::failed, "two tensors are named '", item->first, "'");
    const std::uint64_t end = next + item->second.nbytes();
    header[item->first] = {{"dtype", type_name(item->first, item->second.scalar_type())},
                           {"shape", item->second.sizes().vec()},
                           {"data_offsets", {next, end}}};
    next = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // the data begins aligned
  CADDIE_CHECK(text.size() <= kMaximumHeaderBytes, ErrorKind::failed, "too many tensors for one safetensors file");

  AtomicFile file(path);
  const std::uint64_t header_bytes = text.size();
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(text);
  for (const auto* item : order) {
    const at::Tensor value = item->second.detach().cpu().contiguous();
    file.write(std::span(static_cast<const std::byte*>(value.const_data_ptr()), value.nbytes()));
  }
  file.commit();
}

NamedTensors read_safetensors(const std::filesystem::path& path) {
  const SafetensorsReader reader(path);
  NamedTensors tensors;
  for (const auto& name : reader.names()) tensors.emplace_back(name, reader.tensor(name));
  return tensors;
}

}  // namespace caddie
