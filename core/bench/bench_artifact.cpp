// Quantization and the artifact: Hessians and GPTQ, compression, reading.
#include <ATen/Parallel.h>

#include "core/artifact/container.h"
#include "core/artifact/quantize.h"
#include "core/base/clock.h"
#include "core/bench/bench.h"
#include "core/bench/measure.h"

namespace caddie::bench {
namespace {

artifact::QuantizedModel quantize(const Bench& bench, Model& model, const Json& section, artifact::QuantizeTimes* times) {
  const auto factory = [&](const Json& entry) {
    return bench.session().catalogue().create_quantizer(entry, QuantizerContext{&bench.session().services()});
  };
  artifact::CalibrationInputs inputs;
  inputs.vocabulary = bench.vocabulary();
  inputs.seed = bench.session().seed();
  return artifact::quantize_model(model, artifact::QuantizeSettings::from_json(section), factory, inputs, times);
}

// Calibration tokens are drawn, not sampled: what is measured is what comes after them.
Json section_of(const Bench& bench) {
  Json section = bench.session().section("quantize");
  section["calibrate"]["source"] = "random";
  section["calibrate"]["length"] = std::min(section["calibrate"]["length"].get<std::int64_t>(), bench.session().sequence());
  return section;
}

}  // namespace

Json gptq(Bench& bench) {
  const auto model = bench.model();
  const Json section = section_of(bench);
  std::vector<double> hessians, rounding, both;
  for (int i = 0; i <= bench.repeats(3); ++i) {
    artifact::QuantizeTimes times;
    quantize(bench, *model, section, &times);
    if (i == 0) continue;  // warm
    hessians.push_back(times.hessians_seconds);
    rounding.push_back(times.quantize_seconds);
    both.push_back(times.hessians_seconds + times.quantize_seconds);
  }
  std::int64_t matrices = 0;
  for (const Parameter& parameter : model->parameters()) matrices += parameter.role == Role::matrix ? 1 : 0;
  Json result = bench.head("gptq");
  add_spread(result, "hessians_ms", hessians, 1000);
  add_spread(result, "quantize_ms", rounding, 1000);
  add_spread(result, "step_ms", both, 1000);
  result["matrices"] = matrices;
  bench.add_memory(result);
  return result;
}

Json compress(Bench& bench) {
  const auto model = bench.model();
  const auto quantized = quantize(bench, *model, section_of(bench), nullptr);
  const Json& section = bench.session().section("compress");
  const auto factory = [&](const Json& wanted) {
    return bench.session().catalogue().create_compressor(wanted, CompressorContext{&bench.session().services()});
  };
  // The yardstick of brotli is the library as it is called: one part, one thread.
  Json plain = section;
  if (section.at("use") == "brotli") plain["part"] = 0;
  const auto about = Json::object();
  std::vector<std::byte> plain_file, file;
  const int threads = at::get_num_threads();
  const int repeats = bench.repeats(3);
  std::vector<double> one, all;
  for (int i = 0; i < repeats; ++i) {  // in alternation
    for (std::vector<double>* to : {&one, &all}) {
      const bool is_plain = to == &one;
      at::set_num_threads(is_plain ? 1 : threads);
      const auto compressor = factory(is_plain ? plain : section);
      const Stopwatch watch;
      (is_plain ? plain_file : file) =
          artifact::encode_artifact(quantized.tensors, about, is_plain ? plain : section, *compressor);
      to->push_back(watch.seconds());
    }
  }
  std::uint64_t raw = 0;
  const auto decoding = time_calls(at::kCPU, 5 * repeats, [&] {
    const artifact::Artifact back = artifact::decode_artifact(file, factory);
    raw = back.header.raw_bytes;
    artifact::decoded_weights(back);
  });
  Json result = bench.head("compress");
  add_spread(result, "one_thread_ms", one, 1000);
  add_spread(result, "step_ms", all, 1000);
  add_spread(result, "read_ms", decoding, 1000);
  result["compressor"] = section;
  result["raw_bytes"] = raw;
  result["bytes"] = file.size();
  result["one_thread_bytes"] = plain_file.size();
  result["against_one_thread"] = spread(one).median / spread(all).median;
  result["raw_bytes_per_second"] = static_cast<double>(raw) / spread(all).median;
  result["read_bytes_per_second"] = static_cast<double>(raw) / spread(decoding).median;
  bench.add_memory(result);
  return result;
}

}  // namespace caddie::bench
