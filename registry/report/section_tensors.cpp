// What quantization did to each tensor: bytes and rounding errors by kind, by layer and by name.
#include <algorithm>
#include <cmath>

#include "registry/report/markup.h"
#include "registry/report/plot.h"
#include "registry/report/sections.h"

namespace caddie::registry::report {
namespace {

struct Tensor {
  std::string name, kind, stored, quantizer;
  std::int64_t layer = -1;  // -1: none
  double raw = 0, entropy = 0;
  std::optional<double> error;
};

const Json* tensors_in(const RunRecord& record, const char* stage) {
  if (!record.stages.is_object() || !record.stages.contains(stage)) return nullptr;
  const Json& facts = record.stages.at(stage);
  if (!facts.contains("outputs") || !facts["outputs"].contains("tensors")) return nullptr;
  return &facts["outputs"]["tensors"];
}

// "blocks.3.mlp.up.weight" -> layer 3 of "blocks.{}.mlp.up.weight".
std::string kind_of(const std::string& name, std::int64_t& layer) {
  std::string kind;
  std::size_t at = 0;
  while (at < name.size()) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    const std::string part = name.substr(at, dot - at);
    const bool number = !part.empty() && part.size() < 6 && part.find_first_not_of("0123456789") == std::string::npos;
    if (number && layer < 0) layer = std::stoll(part);
    kind += (kind.empty() ? "" : ".") + (number ? "{}" : part);
    at = dot + 1;
  }
  return kind;
}

std::vector<Tensor> tensors_of(const RunRecord& record) {
  std::vector<Tensor> tensors;
  std::map<std::string, std::size_t> places;
  const auto at = [&](const std::string& name) -> Tensor& {
    const auto [found, fresh] = places.try_emplace(name, tensors.size());
    if (fresh) {
      tensors.push_back({name, {}, {}, {}, -1, 0, 0, {}});
      tensors.back().kind = kind_of(name, tensors.back().layer);
    }
    return tensors[found->second];
  };
  if (const Json* list = tensors_in(record, "quantize"))
    for (const Json& entry : *list) {
      Tensor& tensor = at(entry.value("name", std::string("?")));
      tensor.quantizer = entry.value("quantizer", std::string());
      tensor.error = number_in(entry, "relative_error");
    }
  if (const Json* list = tensors_in(record, "compress"))
    for (const Json& entry : *list) {
      Tensor& tensor = at(entry.value("name", std::string("?")));
      tensor.stored = entry.value("stored", std::string());
      tensor.raw = number_in(entry, "raw_bytes").value_or(0);
      tensor.entropy = number_in(entry, "entropy_bytes").value_or(0);
    }
  return tensors;
}

std::string short_kind(const std::string& kind) {
  std::string name = kind.starts_with("blocks.{}.") ? kind.substr(10) : kind;
  if (name.ends_with(".weight")) name.resize(name.size() - 7);
  return name;
}

struct KindSum {
  std::string kind, stored, quantizer;
  std::size_t count = 0;
  double raw = 0, entropy = 0, error_sum = 0, error_worst = 0;
};

std::vector<KindSum> by_kind(const std::vector<Tensor>& tensors) {
  std::vector<KindSum> kinds;
  for (const Tensor& tensor : tensors) {
    auto found = std::find_if(kinds.begin(), kinds.end(),
                              [&](const KindSum& k) { return k.kind == tensor.kind && k.stored == tensor.stored; });
    if (found == kinds.end()) found = kinds.insert(kinds.end(), KindSum{tensor.kind, tensor.stored, tensor.quantizer});
    ++found->count;
    found->raw += tensor.raw;
    found->entropy += tensor.entropy;
    found->error_sum += tensor.error.value_or(0);
    found->error_worst = std::max(found->error_worst, tensor.error.value_or(0));
  }
  return kinds;
}

std::string percent(double share) { return fixed(100 * share, share < 0.1 ? 2 : 1) + " %"; }

std::string kind_table(const std::vector<Tensor>& tensors) {
  double total = 0;
  for (const Tensor& tensor : tensors) total += tensor.entropy;
  Table table({{"tensors", false},
               {"count"},
               {"quantizer", false},
               {"stored", false},
               {"bytes", true, "before compression, steps included"},
               {"entropy", true, "order-0 entropy of those bytes: what a coder without memory would take"},
               {"share", true, "of all entropy"},
               {"error, mean", true, "|decoded - weight| / |weight|, Frobenius"},
               {"error, worst"}});
  for (const KindSum& kind : by_kind(tensors)) {
    const double mean = kind.error_sum / static_cast<double>(kind.count), share = total > 0 ? kind.entropy / total : 0;
    table.row({{"<code>" + text(kind.kind) + "</code>"},
               {std::to_string(kind.count), static_cast<double>(kind.count)},
               {text(kind.quantizer)},
               {text(kind.stored)},
               {grouped(std::llround(kind.raw)), kind.raw},
               {grouped(std::llround(kind.entropy)), kind.entropy},
               {percent(share), share},
               {percent(mean), mean},
               {percent(kind.error_worst), kind.error_worst}});
  }
  return table.html();
}

std::string tensor_table(const std::vector<Tensor>& tensors) {
  Table table({{"tensor", false}, {"quantizer", false}, {"stored", false}, {"bytes"}, {"entropy"}, {"error"}});
  for (const Tensor& tensor : tensors)
    table.row({{"<code>" + text(tensor.name) + "</code>"},
               {text(tensor.quantizer)},
               {text(tensor.stored)},
               {grouped(std::llround(tensor.raw)), tensor.raw},
               {grouped(std::llround(tensor.entropy)), tensor.entropy},
               tensor.error ? Cell{percent(*tensor.error), tensor.error} : Cell{"-"}});
  return table.html();
}

std::string layer_plot(const std::vector<Tensor>& tensors) {
  CurvePlot plot{"Rounding error by layer", {"layer", false, true}, {"relative error, %", false}, {}};
  std::vector<std::string> kinds;
  for (const Tensor& tensor : tensors) {
    if (tensor.layer < 0 || !tensor.error || *tensor.error < 1e-5) continue;
    auto found = std::find(kinds.begin(), kinds.end(), tensor.kind);
    if (found == kinds.end()) {
      plot.curves.push_back({short_kind(tensor.kind), {}, static_cast<int>(kinds.size()), true, {}});
      found = kinds.insert(kinds.end(), tensor.kind);
    }
    plot.curves[static_cast<std::size_t>(found - kinds.begin())].points.emplace_back(static_cast<double>(tensor.layer),
                                                                                     100 * *tensor.error);
  }
  return draw(plot);
}

// Entropy by kind for every variant: where its bytes are.
std::string bytes_plot(const ReportData& data, const std::vector<Shared>& variants) {
  BarPlot plot{"Bytes by kind of tensor", "kB of entropy, steps included", {}, {}};
  std::map<std::string, std::size_t> parts;
  std::vector<std::vector<Tensor>> all;
  for (const Shared& shared : variants) all.push_back(tensors_of(data.example(data.groups[shared.groups.front()])));
  // The kinds that hold most come first; small ones are one part.
  std::map<std::string, double> sums;
  double total = 0;
  for (const auto& tensors : all)
    for (const Tensor& tensor : tensors) {
      sums[short_kind(tensor.kind)] += tensor.entropy;
      total += tensor.entropy;
    }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [kind, sum] : sums) order.emplace_back(-sum, kind);
  std::sort(order.begin(), order.end());
  for (const auto& [sum, kind] : order)
    if (-sum > 0.01 * total && plot.parts.size() < 7) {
      parts[kind] = plot.parts.size();
      plot.parts.push_back(kind);
    }
  plot.parts.push_back("rest");
  for (std::size_t i = 0; i < variants.size(); ++i) {
    BarRow row{variants[i].label, std::vector<double>(plot.parts.size(), 0), ""};
    double sum = 0;
    for (const Tensor& tensor : all[i]) {
      const auto part = parts.find(short_kind(tensor.kind));
      row.values[part == parts.end() ? plot.parts.size() - 1 : part->second] += tensor.entropy / 1000;
      sum += tensor.entropy / 1000;
    }
    row.note = fixed(sum, sum < 100 ? 1 : 0) + " kB";
    plot.rows.push_back(std::move(row));
  }
  return draw(plot);
}

}  // namespace

std::string tensors_section(const ReportData& data) {
  // Variants with the same codes have the same tensors.
  const auto variants = shared_by(data, [&](const ReportGroup& group) -> std::string {
    const RunRecord& record = data.example(group);
    if (tensors_in(record, "quantize") == nullptr && tensors_in(record, "compress") == nullptr) return {};
    const std::string key = stage_key_of(record, "quantize");
    return key.empty() ? record.id : key;
  });
  if (variants.empty()) return {};
  std::string body = figure("Bytes by kind of tensor", bytes_plot(data, variants),
                            "Order-0 entropy before the compressor, first seed.");
  for (std::size_t i = 0; i < variants.size(); ++i) {
    const std::vector<Tensor> tensors = tensors_of(data.example(data.groups[variants[i].groups.front()]));
    std::string inner = kind_table(tensors);
    if (const std::string drawing = layer_plot(tensors); !drawing.empty())
      inner += figure("Rounding error by layer", drawing, "|decoded \xe2\x88\x92 weight| / |weight| of each matrix.");
    if (i == 0) inner += details("Every tensor", tensor_table(tensors), false, false);
    body += details(variants[i].names, inner, i == 0);
  }
  return section("tensors", "Tensors: bytes and rounding errors", "", body);
}

}  // namespace caddie::registry::report
