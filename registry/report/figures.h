// The drawings of a report as files of their own, for papers and README files.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie::registry::report {

struct Figure {
  std::string name;  // "bits_per_byte_against_bytes", unique within the page
  std::string svg;   // a whole file: it brings its colours, a background, and a dark scheme
};

// Every drawing of a page that report_page or leaderboard_page made, in its order.
CADDIE_API std::vector<Figure> figures_of(const std::string& page);

}  // namespace caddie::registry::report
