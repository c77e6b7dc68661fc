// Small stand-ins: a compressor that needs no plugin, a quantizer that rounds, and tensors of the reference's artifact.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "caddie/compressor.h"
#include "caddie/error.h"
#include "caddie/ops.h"
#include "core/artifact/container.h"
#include "core/artifact/quantized_model.h"

namespace fakes {

using namespace caddie;

// The payload is the blobs, each byte xored with a key, so that damage and a wrong option show.
class XorCompressor final : public Compressor {
 public:
  explicit XorCompressor(int key = 0x5a) : key_(static_cast<std::byte>(key)) {}
  std::vector<std::byte> compress(std::span<const Blob> blobs) override {
    std::vector<std::byte> out;
    for (const auto& blob : blobs)
      for (const auto byte : blob.data) out.push_back(byte ^ key_);
    return out;
  }
  void decompress(std::span<const std::byte> payload, std::span<const BlobShape>,
                  std::span<const std::span<std::byte>> outputs) override {
    std::size_t needed = 0;
    for (const auto& output : outputs) needed += output.size();
    CADDIE_CHECK(needed == payload.size(), ErrorKind::data, "payload of a wrong size");
    for (const auto& output : outputs) {
      std::transform(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(output.size()), output.begin(),
                     [this](std::byte b) { return b ^ key_; });
      payload = payload.subspan(output.size());
    }
  }
  double expected_bytes(double raw_bytes, double) const override { return raw_bytes; }

 private:
  std::byte key_;
};

inline const Json kXorSection = {{"use", "xor"}, {"key", 0x5a}};

inline artifact::CompressorFactory xor_factory() {
  return [](const Json& section) -> std::shared_ptr<Compressor> {
    CADDIE_CHECK(section.value("use", "") == "xor" && section.value("key", Json()).is_number_integer(), ErrorKind::data,
                 "unknown compressor");
    return std::make_shared<XorCompressor>(section["key"].get<int>());
  };
}

inline artifact::StoredTensor coded(const std::string& name, std::int64_t rows, std::int64_t columns, int bits,
                                    Role role = Role::matrix) {
  auto [codes, steps] = ops::quantize_rows(at::randn({rows, columns}), bits);
  return {name, {rows, columns}, role, {Encoding::row_codes, codes, steps.to(at::kHalf), bits, false, {}}, "round", 0};
}

inline artifact::StoredTensor plain(const std::string& name, std::vector<std::int64_t> shape, at::ScalarType type,
                                    Role role = Role::vector) {
  return {name, shape, role, {Encoding::plain, at::randn(shape).to(type), {}, 0, false, {}}, "float", 0};
}

// Names, shapes and encodings of the reference's artifact (163 blobs); width and vocabulary can be smaller.
inline std::vector<artifact::StoredTensor> reference_tensors(std::int64_t width, std::int64_t vocabulary) {
  std::vector<artifact::StoredTensor> tensors;
  tensors.push_back(coded("embedding.weight", vocabulary, width, 8, Role::embedding));
  tensors.push_back(plain("skip.weight", {5, width}, at::kFloat));
  for (int layer = 0; layer < 10; ++layer) {
    const std::string block = "blocks." + std::to_string(layer) + ".";
    tensors.push_back(plain(block + "residual_mix", {2, width}, at::kFloat));
    tensors.push_back(plain(block + "attention_scale", {width}, at::kFloat));
    tensors.push_back(plain(block + "mlp_scale", {width}, at::kFloat));
    tensors.push_back(plain(block + "attention.query_gain", {8}, at::kFloat));
    tensors.push_back(coded(block + "attention.query.weight", width, width, 5));
    tensors.push_back(coded(block + "attention.key.weight", width / 2, width, 5));
    tensors.push_back(coded(block + "attention.value.weight", width / 2, width, 5));
    tensors.push_back(coded(block + "attention.output.weight", width, width, 5));
    tensors.push_back(coded(block + "mlp.up.weight", width * 7 / 2, width, 5));
    tensors.push_back(coded(block + "mlp.down.weight", width, width * 7 / 2, 5));
  }
  return tensors;
}

// What `about` holds for the reference's model.
inline Json reference_about() {
  return {{"name", "sp4096_10l_gptq_ttt"},
          {"model",
           {{"use", "unet_gpt"},
            {"layers", 10},
            {"width", 512},
            {"heads", 8},
            {"kv_heads", 4},
            {"mlp_ratio", 3.5},
            {"xsa_last", 4},
            {"logit_cap", 30.0},
            {"rope_base", 10000.0},
            {"rope_tables", "float32"},
            {"query_gain", 1.5},
            {"embedding_std", 0.005},
            {"embedding_spectrum", 0.5},
            {"slope", 0.5},
            {"skips", true},
            {"vocabulary", nullptr}}},
          {"sequence", 2048},
          {"vocabulary", 4096},
          {"tokenizer", std::string(64, 'f')}};
}

}  // namespace fakes
