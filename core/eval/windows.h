// Which windows a sliding evaluation runs and which of their positions it scores, and the chunk of test-time training
// that a window belongs to (reference.md section 5). Position i predicts token i + 1. Nothing here knows a model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "caddie/export.h"

namespace caddie::eval {

struct Window {
  std::int64_t start;     // inputs are tokens [start, start + sequence)
  std::int64_t from, to;  // scored positions, absolute; to = start + sequence
  bool operator==(const Window&) const = default;
};

// Targets that any evaluation scores from: the largest multiple of `sequence`, tail dropped. 0 if they do not fill one.
CADDIE_API std::int64_t usable_targets(std::int64_t targets, std::int64_t sequence);

// Starts 0, stride, 2 stride, ... while start + sequence <= targets; the first window scores everything, every other
// one its last `stride` positions. Scored intervals join without a gap; up to stride - 1 targets at the end stay
// unscored if the stride does not divide. Throws Error(usage) unless 1 <= stride <= sequence.
CADDIE_API std::vector<Window> sliding_windows(std::int64_t targets, std::int64_t sequence, std::int64_t stride);

// Chunks of `chunk` targets, the last one shorter; Throws Error(usage) unless chunk >= 1.
CADDIE_API std::int64_t chunk_count(std::int64_t targets, std::int64_t chunk);

struct ChunkWindows {
  std::int64_t first, count;  // windows [first, first + count) of the list; count may be 0
};
// A window belongs to chunk from / chunk, at most the last one. One entry a chunk, `chunks` in all.
CADDIE_API std::vector<ChunkWindows> assign_chunks(std::span<const Window> windows, std::int64_t chunk,
                                                   std::int64_t chunks);
// The same for chunks that begin at `starts` (ascending, the first is 0).
CADDIE_API std::vector<ChunkWindows> assign_chunks(std::span<const Window> windows, std::span<const std::int64_t> starts);
// Starts of chunks of at most `chunk` targets that end where a document ends. `documents`: positions of the first tokens
// of documents, ascending.
CADDIE_API std::vector<std::int64_t> document_chunks(std::int64_t targets, std::int64_t chunk,
                                                     std::span<const std::int64_t> documents);

}  // namespace caddie::eval
