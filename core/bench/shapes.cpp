#include "core/bench/shapes.h"

#include "caddie/error.h"
#include "core/base/suggest.h"

namespace caddie::bench {
namespace {

struct Shape {
  const char* name;
  int vocabulary, layers, width, heads, kv_heads, xsa_last, sequence, tokens_per_step, micro_batches;
};

constexpr Shape kShapes[] = {
    {"quick", 1024, 6, 192, 6, 3, 2, 256, 8192, 1},
    {"small", 4096, 8, 256, 8, 4, 3, 512, 8192, 1},
    {"reference", 4096, 10, 512, 8, 4, 4, 2048, 786432, 8},
};

}  // namespace

const std::vector<std::string>& shape_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Shape& shape : kShapes) list.emplace_back(shape.name);
    return list;
  }();
  return names;
}

std::string shape_manifest(std::string_view name) {
  for (const Shape& s : kShapes) {
    if (name != s.name) continue;
    return concat("caddie: 1\nname: bench_", s.name, "\nseed: 1337\ndata: {text: synthetic, vocabulary: ", s.vocabulary,
                  "}\nmodel: {use: unet_gpt, vocabulary: ", s.vocabulary, ", layers: ", s.layers, ", width: ", s.width,
                  ", heads: ", s.heads, ", kv_heads: ", s.kv_heads, ", mlp_ratio: 3.5, xsa_last: ", s.xsa_last,
                  "}\ntrain:\n  sequence: ", s.sequence, "\n  tokens_per_step: ", s.tokens_per_step,
                  "\n  micro_batches: ", s.micro_batches,
                  "\n  stop: {steps: 20000}\n"
                  "  checkpoint: {seconds: 0}\n"
                  "  fake_quant: [{match: attention, bits: 6}, {match: mlp, bits: 5}]\n"
                  // Weights join the running mean from the first step on: every step does the work of a late one.
                  "  average: {ema: 0.997, swa: {every: 5, below: 2}, blend: 0.5}\n"
                  "optimizers:\n"
                  "  - {match: matrix, use: muon, learning_rate: 0.025, weight_decay: 0.04}\n"
                  "  - {match: embedding, use: adamw, learning_rate: 0.035}\n"
                  "  - {match: vector, use: adamw, learning_rate: 0.025}\n"
                  "quantize:\n"
                  "  calibrate: {source: self, sequences: 16, length: 512}\n"
                  "  tensors: [{match: matrix, use: gptq, bits: 5}, {match: embedding, use: int8}]\n"
                  "compress: {use: brotli, quality: 11}\n"
                  "evaluate: {flat: {}, sliding: {stride: 64}}\n"
                  "ttt: {use: sgd, chunk: 131072, epochs: 20, learning_rate: 0.003}\n"
                  "budgets: {}\n");
  }
  std::string accepted;
  for (const std::string& known : shape_names()) accepted += (accepted.empty() ? "" : ", ") + known;
  throw Error(ErrorKind::usage, concat("unknown shape '", name, "'"), "accepted: " + accepted);
}

}  // namespace caddie::bench
