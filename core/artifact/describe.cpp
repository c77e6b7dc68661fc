// Numbers about an artifact as JSON, and the same as text.
#include "core/artifact/describe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "core/artifact/layout.h"
#include "core/base/parameter_match.h"

namespace caddie::artifact {
namespace {

template <class... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 512> line;
  std::snprintf(line.data(), line.size(), format, values...);
  return line.data();
}

std::string stored_as(const StoredTensor& tensor) {
  if (tensor.data.encoding == Encoding::row_codes) {
    const auto& left = tensor.data.low_rank.left;
    return concat("int", tensor.data.bits, left.defined() ? concat("+r", left.size(0)) : "");
  }
  switch (tensor.data.codes.scalar_type()) {
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    default:
      return "float32";
  }
}

std::string shape_text(const Json& shape) {
  std::string text;
  for (const auto& size : shape) text += (text.empty() ? "" : "x") + std::to_string(size.get<std::int64_t>());
  return text.empty() ? "1" : text;
}

struct Line {
  std::string name, shape, stored;
  std::int64_t tensors = 0;
  double elements = 0, raw = 0, entropy = 0;
};

// Tensors of one template, shape and encoding that follow each other become one line.
std::vector<Line> lines_of(const Json& tensors, bool every_tensor) {
  std::vector<Line> lines;
  for (const auto& tensor : tensors) {
    const auto name = tensor["name"].get<std::string>(), pattern = tensor["template"].get<std::string>();
    Line line{every_tensor ? name : pattern, shape_text(tensor["shape"]), tensor["stored"].get<std::string>()};
    if (lines.empty() || every_tensor || lines.back().name != line.name || lines.back().shape != line.shape ||
        lines.back().stored != line.stored)
      lines.push_back(line);
    auto& last = lines.back();
    ++last.tensors;
    last.elements += tensor["elements"].get<double>();
    last.raw += tensor["raw_bytes"].get<double>();
    last.entropy += tensor["entropy_bytes"].get<double>();
  }
  return lines;
}

}  // namespace

double entropy_bytes(const at::Tensor& values) {
  const auto width = static_cast<std::size_t>(values.element_size());
  const auto count = static_cast<std::size_t>(values.numel());
  const auto* bytes = static_cast<const unsigned char*>(values.const_data_ptr());
  double bits = 0;
  for (std::size_t position = 0; position < width; ++position) {
    std::array<std::size_t, 256> counts{};
    for (std::size_t i = 0; i < count; ++i) ++counts[bytes[i * width + position]];
    for (const auto n : counts)
      if (n > 0) bits += static_cast<double>(n) * std::log2(static_cast<double>(count) / static_cast<double>(n));
  }
  return bits / 8;
}

Json describe_artifact(const Artifact& artifact) {
  const auto& header = artifact.header;
  const auto layout = make_layout(artifact.tensors);
  std::vector<std::string> templates(artifact.tensors.size());
  std::size_t next = 0;
  for (const auto& record : layout.records)
    for (std::uint64_t i = 0; i < record.tensors(); ++i) templates[layout.order[next++]] = record.name;
  double total = 0;
  std::int64_t elements = 0;
  Json tensors = Json::array();
  for (std::size_t i = 0; i < artifact.tensors.size(); ++i) {
    const auto& tensor = artifact.tensors[i];
    double entropy = 0;
    const auto raw = part_bytes(tensor.data);
    for (const Part part : kParts)
      if (const auto& values = part_of(tensor.data, part); values.defined()) entropy += entropy_bytes(values);
    total += entropy;
    elements += tensor.data.codes.numel();
    tensors.push_back({{"name", tensor.name},
                       {"template", templates[i]},
                       {"role", std::string(role_name(tensor.role))},
                       {"shape", tensor.shape},
                       {"elements", tensor.data.codes.numel()},
                       {"stored", stored_as(tensor)},
                       {"bits", tensor.data.bits},
                       {"round_bfloat16", tensor.data.round_bfloat16},
                       {"raw_bytes", raw},
                       {"entropy_bytes", entropy}});
  }
  for (auto& tensor : tensors) tensor["share"] = total > 0 ? tensor["entropy_bytes"].get<double>() / total : 0.0;
  return {{"version", header.version},
          {"bytes", header.file_bytes()},
          {"header_bytes", header.header_bytes},
          {"payload_bytes", header.payload_bytes},
          {"raw_bytes", header.raw_bytes},
          {"entropy_bytes", total},
          {"elements", elements},
          {"content_sha256", header.content_sha256},
          {"compress", header.compress},
          {"about", header.about},
          {"tensors", tensors}};
}

std::string description_as_text(const Json& d, bool every_tensor) {
  const double bytes = d["bytes"].get<double>(), elements = d["elements"].get<double>(),
               payload = d["payload_bytes"].get<double>(), entropy = d["entropy_bytes"].get<double>(),
               raw = d["raw_bytes"].get<double>();
  std::string text = formatted("%.0f bytes: header %.0f, payload %.0f by %s\n", bytes, d["header_bytes"].get<double>(),
                               payload, d["compress"]["use"].get<std::string>().c_str());
  text += formatted("%.0f elements in %zu tensors, %.3f bits an element\n", elements, d["tensors"].size(),
                    elements > 0 ? 8 * bytes / elements : 0.0);
  text +=
      formatted("payload: %.1f %% of the raw bytes (%.0f), %+.2f %% over their order-0 entropy (%.0f)\n",
                raw > 0 ? 100 * payload / raw : 0.0, raw, entropy > 0 ? 100 * (payload / entropy - 1) : 0.0, entropy);
  text += "content sha-256 " + d["content_sha256"].get<std::string>() + "\n";
  for (const char* key : {"name", "vocabulary", "sequence", "tokenizer"})
    if (d["about"].contains(key)) text += formatted("%s %s\n", key, d["about"][key].dump().substr(0, 78).c_str());
  if (d["about"].contains("model") && d["about"]["model"].is_object())
    text += formatted("model %s\n", d["about"]["model"].value("use", std::string("?")).c_str());
  text += formatted("\n%-38s %5s %12s %-8s %9s %6s %6s\n", "tensor", "count", "shape", "stored", "elements", "bits",
                    "share");
  for (const auto& line : lines_of(d["tensors"], every_tensor)) {
    const std::string name = line.name.size() <= 38 ? line.name : "..." + line.name.substr(line.name.size() - 35);
    text += formatted("%-38s %5lld %12s %-8s %9.0f %6.2f %5.1f%%\n", name.c_str(), static_cast<long long>(line.tensors),
                      line.shape.c_str(), line.stored.c_str(), line.elements,
                      line.elements > 0 ? 8 * line.entropy / line.elements : 0.0,
                      entropy > 0 ? 100 * line.entropy / entropy : 0.0);
  }
  text += "bits: order-0 entropy an element, steps included; share: of all entropy\n";
  return text;
}

}  // namespace caddie::artifact
