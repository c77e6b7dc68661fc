// Flat and sliding scores, test-time training, generation.
#include <algorithm>

#include "core/artifact/calibration.h"
#include "core/artifact/quantize.h"
#include "core/base/clock.h"
#include "core/bench/bench.h"
#include "core/bench/measure.h"
#include "core/eval/adapt.h"
#include "core/eval/evaluate.h"

namespace caddie::bench {
namespace {

eval::Settings score_settings(const Bench& bench) {
  return eval::Settings::from_json(bench.session().section("evaluate"), bench.session().sequence());
}
bool on_gpu(const Bench& bench) { return bench.session().device().is_cuda(); }

Json timed(Bench& bench, const char* name, std::int64_t tokens, const std::vector<double>& seconds) {
  Json result = bench.head(name);
  add_spread(result, "step_ms", seconds, 1000);
  result["tokens"] = tokens;
  result["tokens_per_second"] = static_cast<double>(tokens) / spread(seconds).median;
  bench.add_memory(result);
  return result;
}

}  // namespace

Json eval_flat(Bench& bench) {
  const auto model = bench.model();
  const std::int64_t targets = bench.session().sequence() * (on_gpu(bench) ? 512 : 128);
  const eval::Text text = bench.text(targets);
  const auto seconds = time_calls(bench.session().device(), bench.repeats(5),
                                  [&] { eval::flat(*model, text, score_settings(bench)); });
  return timed(bench, "eval", targets, seconds);
}

Json sliding(Bench& bench) {
  const auto model = bench.model();
  const eval::Settings settings = score_settings(bench);
  const std::int64_t sequence = settings.sequence;
  const std::int64_t targets = sequence * (on_gpu(bench) ? 32 : 8);
  const eval::Text text = bench.text(targets);
  eval::Score score;
  const auto seconds = time_calls(bench.session().device(), bench.repeats(5),
                                  [&] { score = eval::sliding(*model, text, settings); });
  Json result = timed(bench, "sliding", score.tokens, seconds);
  result["stride"] = settings.stride;
  return result;
}

// Two chunks: the last one of a text is only scored.
Json ttt(Bench& bench) {
  const pipeline::Session& session = bench.session();
  eval::TttSettings settings = eval::TttSettings::from_json(session.section("ttt"));
  const eval::Settings scores = score_settings(bench);
  if (!on_gpu(bench)) settings.chunk = std::min(settings.chunk, 16 * scores.sequence);
  const eval::Text text = bench.text(2 * settings.chunk);
  std::vector<double> score_seconds, adapt_seconds;
  const int repeats = bench.repeats(3);
  for (int i = 0; i < repeats; ++i) {
    const auto model = bench.model();
    const auto strategy = session.catalogue().create_ttt(session.section("ttt"), TttContext{&session.services()});
    const auto done = eval::adapt(*model, text, scores, settings, *strategy);
    // The first chunk pays for what is done once; the second is scored and not learned from.
    score_seconds.push_back(done.chunks.at(1).score_seconds);
    adapt_seconds.push_back(done.chunks.at(0).adapt_seconds);
  }
  Json result = bench.head("ttt");
  add_spread(result, "score_ms", score_seconds, 1000);
  add_spread(result, "adapt_ms", adapt_seconds, 1000);
  const double both = spread(score_seconds).median + spread(adapt_seconds).median;
  result["step_ms_median"] = both * 1000;
  result["chunk"] = settings.chunk;
  result["epochs"] = session.section("ttt").value("epochs", std::int64_t{1});
  result["tokens_per_second"] = static_cast<double>(settings.chunk) / both;
  bench.add_memory(result);
  return result;
}

Json generate(Bench& bench) {
  const auto model = bench.model();
  const auto calibrate = artifact::QuantizeSettings::from_json(bench.session().section("quantize")).calibrate;
  const std::int64_t length = std::min(calibrate.length, bench.session().sequence());
  const Random random(bench.session().seed(), "generate");
  const auto make = [&](std::int64_t sequences, std::int64_t tokens, bool cached) {
    artifact::self_generated_tokens(*model, bench.vocabulary(), sequences, tokens, calibrate.temperature, random,
                                    bench.session().device(), cached);
  };
  const auto with = time_calls(bench.session().device(), bench.repeats(5), [&] { make(calibrate.sequences, length, true); });
  const Stopwatch watch;  // warm by now, and long
  make(calibrate.sequences, length, false);
  synchronize(bench.session().device());
  const double without = watch.seconds();
  Json result = timed(bench, "generate", calibrate.sequences * length, with);
  result["sequences"] = calibrate.sequences;
  result["length"] = length;
  result["without_cache_ms"] = 1000 * without;
  result["against_no_cache"] = without / spread(with).median;
  return result;
}

}  // namespace caddie::bench
