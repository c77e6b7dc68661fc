// The page's style sheet and its one script, inline. Internal to the room.
#pragma once

namespace caddie::registry::report {
extern const char* const kStyle;
extern const char* const kScript;
}  // namespace caddie::registry::report
