#include "core/eval/adapt.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/interrupt.h"
#include "core/base/progress.h"
#include "core/base/trace.h"
#include "core/eval/learner.h"

namespace caddie::eval {
namespace {

std::int64_t rank_of(Communicator* communicator) { return communicator != nullptr ? communicator->rank() : 0; }
std::int64_t ranks_of(Communicator* communicator) { return communicator != nullptr ? communicator->size() : 1; }

struct Interval {
  std::int64_t from, to;
};

// What a chunk may be adapted on: its own whole sequences whose targets were all scored, of all ranks.
Interval adaptable(const Prepared& text, std::int64_t chunk, std::int64_t length, std::int64_t sequence,
                   std::int64_t scored_to) {
  const std::int64_t from = chunk * length;
  const std::int64_t to = std::min({from + length, text.targets, scored_to});
  return {from, from + std::max<std::int64_t>(to - from, 0) / sequence * sequence};
}

// This rank's sequences of the interval. Every rank gets the same number.
ScoredChunk chunk_of(const Prepared& text, const Interval& interval, std::int64_t sequence, std::int64_t index,
                     std::int64_t count, Communicator* communicator) {
  const std::int64_t all = (interval.to - interval.from) / sequence, ranks = ranks_of(communicator);
  const std::int64_t own = (all + ranks - 1) / ranks;
  const std::int64_t first = std::min(rank_of(communicator) * own, all - own);
  const auto rows = [&](std::int64_t shift) {
    return text.tokens.narrow(0, interval.from + first * sequence + shift, own * sequence)
        .to(at::kLong)
        .reshape({own, sequence});
  };
  return {index, count, rows(0), rows(1)};
}

Score score_chunk(Model& model, const Prepared& text, const Settings& settings, const ChunkWindows& windows,
                  Communicator* communicator, const std::function<void(std::int64_t)>& done) {
  const std::int64_t rank = rank_of(communicator), ranks = ranks_of(communicator);
  const WindowRange own{windows.first + windows.count * rank / ranks,
                        windows.first + windows.count * (rank + 1) / ranks, 1};
  Score score = score_windows(model, text, settings, own, done);
  reduce(score, communicator, device_of(model));
  return score;
}

}  // namespace

TttSettings TttSettings::from_json(const Json& section) {
  TttSettings settings;
  settings.chunk = section.value("chunk", settings.chunk);
  if (section.contains("freeze") && section.at("freeze").is_array()) {
    settings.freeze = section.at("freeze").get<std::vector<std::string>>();
  }
  return settings;
}

TttResult adapt(Model& model, const Text& text, const Settings& settings, const TttSettings& ttt,
                TttStrategy& strategy, Communicator* communicator, Ledger* ledger,
                const std::function<void(const ChunkRecord&)>& after_chunk) {
  const at::NoGradGuard no_gradients;
  const Prepared prepared = prepare_text(model, text, settings);
  const std::vector<Window> windows = sliding_windows(prepared.targets, settings.sequence, settings.stride);
  const bool adapts = strategy.adapts();
  const std::int64_t length = adapts ? ttt.chunk : prepared.targets;
  const std::int64_t count = chunk_count(prepared.targets, length);
  const std::vector<ChunkWindows> chunks = assign_chunks(windows, length, count);
  std::optional<ModelLearner> learner;
  if (adapts) {
    // A pass of a strategy's batch needs memory for its backward half too: smaller passes on a CPU.
    const at::Device device = device_of(model);
    const std::int64_t pass = device.is_cuda() ? 0 : batch_rows(settings, device) * settings.sequence;
    learner.emplace(model, ttt.freeze, communicator, pass);
  }

  Progress progress(adapts ? "ttt" : "score (sliding)");
  TttResult result;
  result.score.limited_to = prepared.limited_to;
  const auto total_windows = static_cast<double>(windows.size());
  std::int64_t scored_to = 0;
  for (std::int64_t index = 0; index < count; ++index) {
    const ChunkWindows& own = chunks[static_cast<std::size_t>(index)];
    ChunkRecord record{index, {}, 0, 0, 0, 0};
    if (own.count > 0) {
      char detail[64] = "";
      if (result.score.bytes > 0) {
        std::snprintf(detail, sizeof detail, "chunk %lld/%lld  %.4f bits/byte", static_cast<long long>(index + 1),
                      static_cast<long long>(count), result.score.bits_per_byte());
      }
      const auto ranks = static_cast<double>(ranks_of(communicator));
      std::optional<trace::Span> span(std::in_place, "ttt", "score a chunk", index);
      const Stopwatch score_time;
      model.prepare(/*training=*/false);
      record.score = score_chunk(model, prepared, settings, own, communicator, [&](std::int64_t scored) {
        progress.update((static_cast<double>(own.first) + static_cast<double>(scored) * ranks) / total_windows, detail);
      });
      record.score_seconds = score_time.seconds();
      span.reset();
      const std::int64_t from = scored_to;
      scored_to = windows[static_cast<std::size_t>(own.first + own.count - 1)].to;
      CADDIE_ASSERT(record.score.tokens == scored_to - from);
      result.score += record.score;
      // The record comes before the strategy sees the chunk: an interrupted run never adapted on an unrecorded token.
      if (ledger != nullptr) ledger->scored({index, from, scored_to, record.score, record.score_seconds});

      const Interval interval = adaptable(prepared, index, length, settings.sequence, scored_to);
      if (adapts && index + 1 < count && interval.to > interval.from) {
        const trace::Span adapting("ttt", "adapt to a chunk", index);
        const Stopwatch adapt_time;
        throw_if_interrupted();
        strategy.adapt(chunk_of(prepared, interval, settings.sequence, index, count, communicator), *learner);
        record.rate = strategy.rate(index, count);
        record.sequences = (interval.to - interval.from) / settings.sequence;
        record.adapt_seconds = adapt_time.seconds();
        if (ledger != nullptr) {
          ledger->adapted({index, interval.from, interval.to, record.rate, record.adapt_seconds});
        }
      }
    }
    result.chunks.push_back(record);
    if (after_chunk) after_chunk(record);
  }
  model.prepare(/*training=*/false);
  if (ledger != nullptr) ledger->finish(result.score);
  return result;
}

}  // namespace caddie::eval
