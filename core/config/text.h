// Text of sources: lines, characters, positions, and what of it is refused before yaml-cpp sees it. Internal to config.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/document.h"

namespace caddie::config {

// Refuses what is too long, not UTF-8, has control characters, or a tab in its indentation; false after a problem.
bool check_text(std::string_view text, const std::shared_ptr<const Source>& source, Problems& problems);

// From a position in bytes (column from 0) to one in characters (column from 1).
Location locate_bytes(const std::shared_ptr<const Source>& source, int line, std::size_t byte_column, int length);

// Characters that the token at this position takes in its line: a quoted text with its quotes, or `value` as it stands.
int token_length(const std::vector<std::string>& lines, int line, std::size_t byte_column, std::string_view value);

// "Did you mean": the closest name, or the one that `name` abbreviates ("lr" and "lrr" for learning_rate); or empty.
std::string suggest(std::string_view name, std::span<const std::string> candidates);

// Whether a text may be a part of a file's name, what is accepted, and the nearest such text.
bool is_file_name(std::string_view text);
std::string file_name(std::string_view text);
inline constexpr const char* kFileName =
    "up to 120 letters, digits and . _ = , + - (it becomes part of a folder's name)";

}  // namespace caddie::config
