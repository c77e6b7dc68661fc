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
  std::vector<ChunkWindows> result(static_cast<std::size_t>(chunks), {0, 0});
  if (chunks == 0) return result;
  std::int64_t next = 0;
  const auto total = static_cast<std::int64_t>(windows.size());
  for (std::int64_t index = 0; index < chunks; ++index) {
    const std::int64_t first = next;
    // `from` grows with the window, so the windows of a chunk are neighbours.
    while (next < total && std::min(windows[static_cast<std::size_t>(next)].from / chunk, chunks - 1) == index) ++next;
    result[static_cast<std::size_t>(index)] = {first, next - first};
  }
  return result;
}

}  // namespace caddie::eval
