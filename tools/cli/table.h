// Numbers and tables as the commands print them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace caddie::cli {

// A table of left-aligned first and right-aligned other columns, two spaces apart.
std::string table(const std::vector<std::vector<std::string>>& rows);
std::string with_commas(std::int64_t number);
std::string fixed(double value, int decimals);
// A path, relative where that is shorter to read.
std::string shown_path(const std::string& path);

}  // namespace caddie::cli
