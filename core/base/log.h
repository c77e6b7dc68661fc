// Messages to a person: one line each on stderr, coloured on a terminal, and into the run's log.txt once it is set.
// Results never go through here; they are printed on stdout by tools/cli.
#pragma once

#include <filesystem>
#include <string_view>

#include "caddie/export.h"
#include "caddie/services.h"

namespace caddie::log {

// Messages below this level are dropped from stderr (log.txt gets everything).
CADDIE_API void set_level(LogLevel level);
CADDIE_API void set_quiet(bool quiet);  // -q: warnings only
CADDIE_API void set_file(const std::filesystem::path& path);  // empty: none
CADDIE_API void write(LogLevel level, std::string_view text);
CADDIE_API void debug(std::string_view text);
CADDIE_API void info(std::string_view text);
CADDIE_API void warning(std::string_view text);

// Whether stderr is a terminal that takes colours and bars (NO_COLOR and non-terminals say no).
CADDIE_API bool fancy();
CADDIE_API void set_fancy(bool on);  // --json switches bars off
// Wraps text in an ANSI style ("1" bold, "31" red, ...) where fancy() holds.
CADDIE_API std::string styled(std::string_view text, std::string_view style);
// Lines that stay below the log, redrawn after each message (a progress bar). Empty: none.
CADDIE_API void set_status(std::string_view line);

}  // namespace caddie::log
