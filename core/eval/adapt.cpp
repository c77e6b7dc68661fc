#include "core/eval/adapt.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <span>

#include "caddie/error.h"
#include "core/base/clock.h"
#include "core/base/interrupt.h"
#include "core/base/progress.h"
#include "core/base/trace.h"
#include "core/eval/learner.h"
#include "core/eval/windows.h"

namespace caddie::eval {
namespace {

std::int64_t rank_of(Communicator* communicator) { return communicator != nullptr ? communicator->rank() : 0; }
std::int64_t ranks_of(Communicator* communicator) { return communicator != nullptr ? communicator->size() : 1; }

struct Interval {
  std::int64_t from, to;
};

// The chunks of a text: where they begin, and whether what follows is another document.
struct Chunks {
  std::vector<std::int64_t> starts;  // and, last, the number of targets
  std::vector<bool> ends_document;

  std::int64_t count() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  Interval at(std::int64_t index) const {
    const auto i = static_cast<std::size_t>(index);
    return {starts[i], starts[i + 1]};
  }
};

Chunks chunks_of(const Prepared& text, std::int64_t bos, std::int64_t length, bool documents) {
  Chunks chunks;
  std::vector<std::int64_t> begins;
  if (bos >= 0) {
    const at::Tensor found = text.tokens.narrow(0, 0, text.targets).eq(bos).nonzero().reshape({-1}).to(at::kCPU, at::kLong);
    begins.assign(found.const_data_ptr<std::int64_t>(), found.const_data_ptr<std::int64_t>() + found.numel());
  }
  if (documents) {
    chunks.starts = document_chunks(text.targets, length, begins);
  } else {
    for (std::int64_t i = 0; i < chunk_count(text.targets, length); ++i) chunks.starts.push_back(i * length);
  }
  chunks.starts.push_back(text.targets);
  for (std::size_t i = 1; i < chunks.starts.size(); ++i)
    chunks.ends_document.push_back(std::binary_search(begins.begin(), begins.end(), chunks.starts[i]));
  return chunks;
}

// What a chunk may be adapted on: its own whole sequences whose targets were all scored, of all ranks.
Interval adaptable(const Interval& chunk, std::int64_t sequence, std::int64_t scored_to) {
  const std::int64_t to = std::min(chunk.to, scored_to);
  return {chunk.from, chunk.from + std::max<std::int64_t>(to - chunk.from, 0) / sequence * sequence};
}

// This rank's sequences of the interval. Every rank gets the same number.
ScoredChunk chunk_of(const Prepared& text, const Interval& interval, std::int64_t sequence, std::int64_t index,
                     std::int64_t count, bool ends_document, Communicator* communicator) {
  const std::int64_t all = (interval.to - interval.from) / sequence, ranks = ranks_of(communicator);
  const std::int64_t own = (all + ranks - 1) / ranks;
  const std::int64_t first = std::min(rank_of(communicator) * own, all - own);
  const auto rows = [&](std::int64_t shift) {
    return text.tokens.narrow(0, interval.from + first * sequence + shift, own * sequence)
        .to(at::kLong)
        .reshape({own, sequence});
  };
  return {index, count, rows(0), rows(1), ends_document};
}

Score score_chunk(Model& model, const Prepared& text, const Settings& settings, const ChunkWindows& windows,
                  Communicator* communicator, const std::function<void(std::int64_t)>& done) {
  const std::int64_t rank = rank_of(communicator), ranks = ranks_of(communicator);
  const WindowRange own{windows.first + windows.count * rank / ranks,
                        windows.first + windows.count * (rank + 1) / ranks, 1};
  Score score = score_windows(model, text, settings, own, done);
  reduce(score, communicator);
  return score;
}

}  // namespace

TttSettings TttSettings::from_json(const Json& section) {
  TttSettings settings;
  settings.chunk = section.value("chunk", settings.chunk);
  settings.documents = section.value("documents", settings.documents);
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
  CADDIE_CHECK(!ttt.documents || text.bos >= 0, ErrorKind::usage,
               "ttt.documents: it is not known which token begins a document of this text");
  const Chunks parts = chunks_of(prepared, adapts ? text.bos : -1, adapts ? ttt.chunk : prepared.targets,
                                 adapts && ttt.documents);
  const std::int64_t count = parts.count();
  const std::vector<ChunkWindows> chunks = assign_chunks(windows, std::span(parts.starts).first(parts.starts.size() - 1));
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

      // Of documents, what is shorter than a sequence is one as well.
      Interval chunk = parts.at(index);
      const std::int64_t whole = std::min(chunk.to, scored_to) - chunk.from;
      const std::int64_t sequence = ttt.documents ? std::clamp<std::int64_t>(whole, 1, settings.sequence) : settings.sequence;
      const Interval interval = adaptable(chunk, sequence, scored_to);
      if (adapts && index + 1 < count && interval.to > interval.from) {
        const trace::Span adapting("ttt", "adapt to a chunk", index);
        const Stopwatch adapt_time;
        throw_if_interrupted();
        const bool ends = parts.ends_document[static_cast<std::size_t>(index)];
        const std::int64_t before = learner->calls();
        strategy.adapt(chunk_of(prepared, interval, sequence, index, count, ends, communicator), *learner);
        if (learner->calls() > before) {
          record.rate = strategy.rate(index, count);
          record.sequences = (interval.to - interval.from) / sequence;
          record.adapt_seconds = adapt_time.seconds();
          if (ledger != nullptr) {
            ledger->adapted({index, interval.from, interval.to, record.rate, record.adapt_seconds});
          }
        }
      }
    }
    if (adapts && index + 1 < count && parts.ends_document[static_cast<std::size_t>(index)])
      strategy.end_document(*learner);
    result.chunks.push_back(record);
    if (after_chunk) after_chunk(record);
  }
  model.prepare(/*training=*/false);
  if (ledger != nullptr) ledger->finish(result.score);
  return result;
}

}  // namespace caddie::eval
