#include "core/eval/windows.h"

#include <algorithm>

#include "caddie/error.h"

namespace caddie::eval {

std::int64_t usable_targets(std::int64_t targets, std::int64_t sequence) {
  CADDIE_CHECK(sequence >= 1, ErrorKind::usage, "a sequence of ", sequence, " tokens; accepted: 1 and above");
  return std::max<std::int64_t>(targets, 0) / sequence * sequence;
}

std::vector<Window> sliding_windows(std::int64_t targets, std::int64_t sequence, std::int64_t stride) {
  CADDIE_CHECK(sequence >= 1, ErrorKind::usage, "a sequence of ", sequence, " tokens; accepted: 1 and above");
  if (stride < 1 || stride > sequence) {
    throw Error(ErrorKind::usage, concat("a stride of ", stride, "; accepted: 1 to the sequence, ", sequence),
                "With a stride above the sequence tokens would be left out of the score.");
  }
  std::vector<Window> windows;
  if (targets < sequence) return windows;
  windows.reserve(static_cast<std::size_t>((targets - sequence) / stride + 1));
  for (std::int64_t start = 0; start + sequence <= targets; start += stride) {
    windows.push_back({start, start == 0 ? 0 : start + sequence - stride, start + sequence});
  }
  return windows;
}

std::int64_t chunk_count(std::int64_t targets, std::int64_t chunk) {
  CADDIE_CHECK(chunk >= 1, ErrorKind::usage, "a chunk of ", chunk, " tokens; accepted: 1 and above");
  return (targets + chunk - 1) / chunk;
}

std::vector<ChunkWindows> assign_chunks(std::span<const Window> windows, std::int64_t chunk, std::int64_t chunks) {
  CADDIE_CHECK(chunk >= 1, ErrorKind::usage, "a chunk of ", chunk, " tokens; accepted: 1 and above");
  std::vector<std::int64_t> starts;
  for (std::int64_t index = 0; index < chunks; ++index) starts.push_back(index * chunk);
  return assign_chunks(windows, starts);
}

std::vector<ChunkWindows> assign_chunks(std::span<const Window> windows, std::span<const std::int64_t> starts) {
  std::vector<ChunkWindows> result;
  std::size_t next = 0;
  for (std::size_t index = 0; index < starts.size(); ++index) {
    const std::size_t first = next;
    // `from` grows with the window, so the windows of a chunk are neighbours.
    while (next < windows.size() && (index + 1 == starts.size() || windows[next].from < starts[index + 1])) ++next;
    result.push_back({static_cast<std::int64_t>(first), static_cast<std::int64_t>(next - first)});
  }
  return result;
}

std::vector<std::int64_t> document_chunks(std::int64_t targets, std::int64_t chunk,
                                          std::span<const std::int64_t> documents) {
  CADDIE_CHECK(chunk >= 1, ErrorKind::usage, "a chunk of ", chunk, " tokens; accepted: 1 and above");
  std::vector<std::int64_t> starts;
  const auto document = [&](std::int64_t from, std::int64_t to) {
    for (; from < to; from += chunk) starts.push_back(from);
  };
  std::int64_t begin = 0;
  for (const auto next : documents) {
    if (next <= begin || next >= targets) continue;
    document(begin, next);
    begin = next;
  }
  document(begin, targets);
  return starts;
}

}  // namespace caddie::eval
