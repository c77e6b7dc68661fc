// Tasks side by side, for plugins whose work falls into independent pieces.
#pragma once

#include <cstddef>
#include <functional>

#include "caddie/export.h"

namespace caddie {

// Calls task(0) ... task(count - 1), begun in this order, on at most `threads` threads, the caller's among them. Waits for all,
// then throws what the first failing one (by number) threw.
CADDIE_API void in_parallel(std::size_t count, int threads, const std::function<void(std::size_t)>& task);

}  // namespace caddie
