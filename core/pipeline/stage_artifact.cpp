// The quantize and compress stages: codes and steps; the artifact file, read back before it counts.
#include "caddie/error.h"
#include "core/artifact/codes_file.h"
#include "core/artifact/container.h"
#include "core/artifact/describe.h"
#include "core/artifact/quantize.h"
#include "core/base/files.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/safetensors.h"
#include "core/base/trace.h"
#include "core/data/shards.h"
#include "core/pipeline/stages.h"

namespace caddie::pipeline {
namespace fs = std::filesystem;
namespace {

artifact::CompressorFactory compressor_factory(const Session& session) {
  return [&session](const Json& section) {
    return session.catalogue().create_compressor(section, CompressorContext{&session.services()});
  };
}

// By tensor, for reports: how it was rounded and how far that moved it, |decoded - weight| / |weight| (Frobenius).
Json tensor_errors(const artifact::QuantizedModel& quantized) {
  Json list = Json::array();
  for (const auto& tensor : quantized.tensors)
    list.push_back({{"name", tensor.name}, {"quantizer", tensor.quantizer}, {"bits", tensor.data.bits},
                    {"relative_error", tensor.relative_error}});
  return list;
}

// By tensor: bytes before compression, and the entropy of those bytes (the payload cannot be taken apart by tensor).
Json tensor_sizes(const artifact::Artifact& artifact) {
  const Json description = artifact::describe_artifact(artifact);
  Json list = Json::array();
  for (const Json& tensor : description.at("tensors")) {
    Json row;
    for (const char* key : {"name", "role", "shape", "stored", "raw_bytes", "entropy_bytes"}) row[key] = tensor.at(key);
    list.push_back(row);
  }
  return list;
}

}  // namespace

Json compute_quantize(const Session& session, const data::DataSet& data, const fs::path& weights,
                      const fs::path& folder) {
  const auto model = session.create_model(data.vocabulary, session.device());
  artifact::load_weights(*model, read_safetensors(weights));
  const auto settings = artifact::QuantizeSettings::from_json(session.section("quantize"));
  const auto factory = [&](const Json& entry) {
    return session.catalogue().create_quantizer(entry, QuantizerContext{&session.services()});
  };
  artifact::CalibrationInputs inputs;
  inputs.vocabulary = data.vocabulary;
  inputs.seed = session.seed();
  inputs.train_tokens = [&](std::int64_t sequences, std::int64_t length) {
    const data::TokenStream stream(data.train);
    CADDIE_CHECK(stream.size() >= sequences * length, ErrorKind::data, "calibration asks for ", sequences, " sequences of ",
                 length, " training tokens, the shards hold ", stream.size());
    return stream.tensor(0, sequences * length).view({sequences, length}).to(session.device());
  };
  artifact::QuantizeTimes times;
  const artifact::QuantizedModel quantized = artifact::quantize_model(*model, settings, factory, inputs, &times);
  for (const std::string& note : quantized.notes) log::info(note);
  artifact::write_codes(folder, quantized);
  const std::string codes_hash =
      sha256(sha256_file(folder / "codes.safetensors") + sha256_file(folder / "codes.json"));
  return {{"codes_hash", codes_hash},
          {"decoded_hash", artifact::weights_hash(artifact::decode(quantized.tensors))},
          {"notes", quantized.notes},
          {"tensors", tensor_errors(quantized)},
          {"calibration_seconds", times.tokens_seconds},
          {"hessians_seconds", times.hessians_seconds},
          {"quantize_seconds", times.quantize_seconds}};
}

Json compute_compress(const Session& session, const data::DataSet& data, const fs::path& codes, const fs::path& folder) {
  const artifact::QuantizedModel quantized = artifact::read_codes(codes);
  const auto factory = compressor_factory(session);
  const Json& section = session.section("compress");
  const Json about = {{"name", session.resolved().at("name")},
                      {"model", session.section("model")},
                      {"vocabulary", data.vocabulary},
                      {"sequence", session.sequence()},
                      {"tokenizer", data.bytes->tokenizer_sha256()}};
  const fs::path file = folder / "model.caddie";
  const auto compressor = factory(section);
  {
    const trace::Span span("compress", "compress with " + section.at("use").get<std::string>());
    artifact::write_artifact(file, quantized.tensors, about, section, *compressor);
  }

  // What counts is what comes back.
  const trace::Span span("compress", "read back and compare");
  const artifact::Artifact back = artifact::read_artifact(file, factory);
  const std::string decoded = artifact::weights_hash(artifact::decoded_weights(back));
  CADDIE_CHECK(decoded == artifact::weights_hash(artifact::decode(quantized.tensors)), ErrorKind::failed,
               "the artifact does not decode to the weights that went in: the compressor '",
               section.at("use").get<std::string>(), "' loses something");
  return {{"bytes", fs::file_size(file)},
          {"header_bytes", back.header.header_bytes},
          {"raw_bytes", back.header.raw_bytes},
          {"tensors", tensor_sizes(back)},
          {"sha256", sha256_file(file)},
          {"decoded_hash", decoded}};
}

artifact::NamedWeights weights_of_artifact(const Session& session, const fs::path& file) {
  return artifact::decoded_weights(artifact::read_artifact(file, compressor_factory(session)));
}

}  // namespace caddie::pipeline
